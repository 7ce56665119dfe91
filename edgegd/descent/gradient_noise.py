"""How much of a gradient is noise, from the gradients of several batches at one point (McCandlish et al. 2018, A.1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from edgegd.descent.telemetry import untouched
from edgegd.descent.training import Training


@dataclass(frozen=True)
class GradientNoise:
    """Of everything that learns: `noise` is the sum of the variances of one image's gradient, `slope` the square of the
    mean gradient's norm; both are unbiased, so `slope` may be negative. `scale` is noise over slope: the batch size at
    which both are equally strong; None where the batches show no slope, only noise."""

    noise: float
    slope: float
    scale: float | None


def gradient_noise(training: Training, batches: Iterable[dict[str, Any]]) -> GradientNoise | None:
    """From batches of one size, two of them at least (None otherwise); a smaller one behind them is left out.

    The student and the random generators are as before. It takes the loss for a mean over images.
    """
    with untouched(training.student):
        training.student.train()
        size, count, squares = 0, 0, 0.0
        total: list[torch.Tensor] = []
        for batch in batches:
            size = size or len(batch["img"])
            if len(batch["img"]) != size:
                continue
            training.accumulated_gradient([batch])
            found = [p.grad for p in training.parameters if p.grad is not None]
            gradients = [gradient.detach() / training.scaler.get_scale() for gradient in found]
            squares += float(_square(gradients))
            total = [a + b for a, b in zip(total, gradients, strict=True)] if total else gradients
            count += 1
        training.optimizer.zero_grad(set_to_none=True)
    if count < 2:
        return None
    of_mean = float(_square(total)) / count**2
    noise = size * (squares / count - of_mean) * count / (count - 1)
    slope = of_mean - noise / (count * size)
    return GradientNoise(noise, slope, noise / slope if slope > 0 else None)


def _square(gradients: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(torch._foreach_norm(gradients)).square().sum()
