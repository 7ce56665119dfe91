"""Weights that swing between two codes under gradient descent: counted, damped or frozen.

Nagel et al. 2022, "Overcoming Oscillations in Quantization-Aware Training". A weight oscillates at a step where its
code changes in the direction opposite to its last change; the moving average of that is its frequency. Damping adds
c |w - q(w)|^2 to the loss, q(w) taken as constant, with c rising from 0. Freezing (algorithm 1) holds a weight whose
frequency passes a falling threshold at that one of its last two codes which is nearest to the average of its codes
(the paper: at the one nearest to the average). All three: section 4. Weights outside their range are left to the range.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from edgegd.descent.schedule import half_cosine
from edgegd.plan.profiles import INTEGER
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.quantizers import WeightQuantizer

_MOMENTUM = 0.01  # of both moving averages
_OSCILLATING = 0.005  # the frequency above which a weight counts as oscillating
_FIRST_THRESHOLD, _LAST_THRESHOLD = 0.1, 0.01  # of freezing: the authors' for MobileNetV2 at 4 bits

STATE = ("codes", "direction", "frequency", "mean_code", "frozen")


class Oscillation:
    """The codes of all integer convolutions' weights over the steps of a descent, in flat vectors of W elements.

    `kind` is track, damp or freeze; `damping` the coefficient at the end. Each step calls `before_step` between the
    gradients and the optimizer's step, and `after_step` after it.
    """

    def __init__(self, quantized: QuantizedModel, kind: str, damping: float) -> None:
        self.kind, self.damping = kind, damping
        self._quantized = quantized
        ops = [op for op in quantized.plan.ops if op.weight and op.decision == INTEGER]
        model = quantized.model
        self._layers: dict[str, tuple[Any, WeightQuantizer]] = {
            op.weight: (model.get_submodule(op.weight).weight, quantized.weight_quantizer(op)) for op in ops
        }
        self._qmax = quantized.plan.weight_format.qmax
        sizes = [weight.numel() for weight, _ in self._layers.values()]
        device = next(model.parameters()).device
        self._sizes, width = sizes, sum(sizes)
        self._ratio = torch.empty(width, device=device)  # w / s, then codes
        self._codes = torch.empty(width, dtype=torch.int8, device=device)
        self._direction = torch.zeros(width, dtype=torch.int8, device=device)
        self._frequency = torch.zeros(width, device=device)
        self._mean_code = torch.zeros(width, device=device)
        self._frozen = torch.zeros(width, dtype=torch.bool, device=device)
        self._codes.copy_(self._divide())
        self._mean_code.copy_(self._codes)

    def _per_layer(self, flat: torch.Tensor) -> list[torch.Tensor]:
        shapes = (weight.shape for weight, _ in self._layers.values())
        return [part.view(shape) for part, shape in zip(flat.split(self._sizes), shapes, strict=True)]

    def _scales(self) -> list[torch.Tensor]:
        return [quantizer.scale.view(-1, *[1] * (weight.ndim - 1)) for weight, quantizer in self._layers.values()]

    def _divide(self) -> torch.Tensor:
        """The codes of the weights as the last forward pass had them, as floats (W,); reuses one buffer."""
        parts = self._per_layer(self._ratio)
        for part, (weight, _), scale in zip(parts, self._layers.values(), self._scales(), strict=True):
            torch.div(weight.detach(), scale, out=part)
        return self._ratio.round_().clamp_(-self._qmax, self._qmax)

    @torch.no_grad()
    def before_step(self, progress: float) -> None:
        """Counts what this step's forward pass saw, and adds damping's gradient; `progress` is from 0 to 1."""
        codes = self._divide()
        change = torch.sub(codes, self._codes).sign_().to(torch.int8)
        swings = (change * self._direction) < 0
        self._frequency.lerp_(swings.to(torch.float32), _MOMENTUM)
        self._direction = torch.where(change != 0, change, self._direction)
        if self.kind == "damp":
            self._damp(codes, 2 * self.damping * (1 - half_cosine(progress)))
        elif self.kind == "freeze":
            threshold = _LAST_THRESHOLD + (_FIRST_THRESHOLD - _LAST_THRESHOLD) * half_cosine(progress)
            self._freeze(self._frequency > threshold, codes)
        self._codes.copy_(codes)

    def _freeze(self, swinging: torch.Tensor, codes: torch.Tensor) -> None:
        mean = self._mean_code.lerp(codes, _MOMENTUM)
        # In a short descent the average may lag behind a weight that has moved: of the last two codes, one is kept.
        between = mean.clamp(torch.minimum(codes, self._codes), torch.maximum(codes, self._codes)).round_()
        mean = torch.where(swinging, between, mean)
        self._mean_code = torch.where(self._frozen, self._mean_code, mean)
        self._frozen |= swinging

    def _damp(self, codes: torch.Tensor, factor: float) -> None:
        layers = zip(self._layers.values(), self._per_layer(codes), self._scales(), strict=True)
        for (weight, _), code, scale in layers:
            if weight.grad is not None:
                distance = torch.addcmul(weight, code, scale, value=-1)
                limit = scale * (self._qmax + 0.5)
                weight.grad.add_(distance.where(weight.abs() <= limit, 0.0), alpha=factor)

    @torch.no_grad()
    def after_step(self) -> None:
        """Gives frozen weights back their codes; nothing where none is frozen."""
        if self.kind != "freeze" or not self._frozen.any():
            return
        for _ in range(2):  # a scale that is tied to the weights follows what is written: the second time it is right
            flat = (self._per_layer(self._mean_code), self._per_layer(self._frozen))
            layers = zip(self._layers.values(), *flat, self._scales(), strict=True)
            for (weight, _), code, held, scale in layers:
                weight.copy_(torch.where(held, code * scale, weight))
            self._quantized.follow_weights()

    def counts(self) -> dict[str, dict[str, int]]:
        """For each layer (path): its weights, how many oscillate, and how many are frozen."""
        parts = zip(self._layers, self._per_layer(self._frequency), self._per_layer(self._frozen), strict=True)
        return {
            name: {
                "weights": frequency.numel(),
                "oscillating": int((frequency > _OSCILLATING).sum()),
                "frozen": int(frozen.sum()),
            }
            for name, frequency, frozen in parts
        }

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Everything that lasts from step to step."""
        return {name: getattr(self, f"_{name}") for name in STATE}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Takes over what `state_dict` returned; KeyError or RuntimeError where it does not fit."""
        for name in STATE:
            getattr(self, f"_{name}").copy_(state[name])
