"""What is recorded of a descent's steps, and how it is measured without changing one bit of the descent.

Every step: the norm of each parameter group's gradient, whether it was clipped, seconds and memory of its parts. Every
so many steps a Probe looks closer: at each layer, each range, the noise of the gradient and the length of the step. It
runs the model once more on half of the batch, once more on all of it, and on two images; then the student and the
random generators are put back as they were. docs/telemetry.md has the schema.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from edgegd.descent.averaging import MovingAverage
from edgegd.descent.random_state import capture_random_state, restore_random_state
from edgegd.descent.ranks import ALONE, Ranks
from edgegd.descent.step_length import step_length
from edgegd.detectors.losses import first_images
from edgegd.detectors.student import Student
from edgegd.plan.profiles import INTEGER
from edgegd.quant.attach import QuantizedModel

LOOKED_AT = 2
"""Images whose activations are looked at."""
Batch = dict[str, Any]
GradientsOf = Callable[[Sequence[Batch], Sequence[nn.Parameter]], tuple[float, list[torch.Tensor]]]


class Clock:
    """Seconds and resident memory of the parts of a step; a part that comes several times adds up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.memory_mb: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, part: str) -> None:
        """The part ends now. On a GPU, which works behind, its time may count for a later part."""
        now = time.perf_counter()
        self.seconds[part] = round(self.seconds.get(part, 0.0) + now - self._last, 5)
        self._last = now
        if (memory := resident_mb()) is not None:
            self.memory_mb[part] = memory

    def skip(self) -> None:
        """What happened since the last part counts for none."""
        self._last = time.perf_counter()


def resident_mb() -> float | None:
    """What this process has in memory now, in MB; None where the system does not tell."""
    if not sys.platform.startswith("linux"):
        return None
    with open("/proc/self/statm", "rb") as file:
        return round(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def group_norms(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The norm of the gradient of each parameter group by its name, as scalars; of groups that have gradients."""
    norms = {}
    for group in optimizer.param_groups:
        gradients = [p.grad for p in group["params"] if p.grad is not None]
        if gradients:
            norms[group["name"]] = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norms


class Probe:
    """One step looked at closely: made between its gradients and their clipping, read after it by `measure`.

    `parts` are those of the step's batch, `loss` its whole loss. `gradients_of` returns the whole loss of parts, by the
    student as it is then, and its gradients; with several `ranks` those of all of their parts. The activations of
    `shown` (N, C, H, W), in 0..1, are looked at.
    """

    def __init__(
        self,
        student: Student,
        optimizer: torch.optim.Optimizer,
        parts: Sequence[Batch],
        loss: float,
        gradients_of: GradientsOf,
        shown: torch.Tensor,
        ranks: Ranks = ALONE,
    ) -> None:
        self._student, self._parts, self._loss, self._gradients_of = student, parts, loss, gradients_of
        self._shown = shown
        self._groups = {group["name"]: _learning(group["params"]) for group in optimizer.param_groups}
        self._names = {id(parameter): name for name, parameter in student.named_parameters()}
        self._parameters = [p for parameters in self._groups.values() for p in parameters]
        self._gradients = [_gradient(p).clone() for p in self._parameters]
        self._before = [p.detach().clone() for p in self._parameters]
        self._codes = _codes(student)
        half = _first_half(parts)
        counts = ranks.gather((_images(parts), _images(half)))
        self._images, self._half_images = (sum(one) for one in zip(*counts, strict=True))
        is_halved = all(of_half for _, of_half in counts)
        self._half = self._loss_and_gradients(half) if is_halved else None

    def _loss_and_gradients(self, parts: Sequence[Batch]) -> tuple[float, list[torch.Tensor]]:
        with untouched(self._student):
            return self._gradients_of(parts, self._parameters)

    def measure(self, average: MovingAverage) -> dict[str, Any]:
        """What the step did, as plain data (docs/telemetry.md, `detail`)."""
        steps = [p.detach() - before for p, before in zip(self._parameters, self._before, strict=True)]
        after_loss, after = self._loss_and_gradients(self._parts)
        detail = {
            "layers": self._layers(steps),
            "codes_changed": self._codes_changed(),
            "ranges": looked_at(self._student, self._shown),
            "ema_distance": average.distance(),
            "noise_scale": self._noise_scale(),
            "step_length": self._step_lengths(steps, after_loss, after),
        }
        return finite(detail)  # type: ignore[no-any-return]

    def _layers(self, steps: Sequence[torch.Tensor]) -> dict[str, dict[str, float]]:
        """By layer (the path of its module): norms of gradient and weights, and the step's over that of the weights."""
        rows: dict[str, dict[str, float]] = {}
        norms = zip(*(torch._foreach_norm(list(x)) for x in (self._gradients, self._before, steps)), strict=True)
        for parameter, (gradient, before, step) in zip(self._parameters, norms, strict=True):
            path, _, name = self._names[id(parameter)].removeprefix("model.").rpartition(".")
            if name in ("weight", "bias"):
                size = float(before)
                row = {"gradient": float(gradient), "size": size, "update": float(step) / size if size else 0.0}
                rows[path if name == "weight" else f"{path}.bias"] = row
        return rows

    def _codes_changed(self) -> dict[str, float]:
        """By layer, the share of its weights whose code the step changed."""
        now = _codes(self._student, update=True)
        return {name: float((codes != self._codes[name]).float().mean()) for name, codes in now.items()}

    def _noise_scale(self) -> float | None:
        """The batch size at which noise and slope are equally strong (McCandlish et al. 2018, appendix A.1).

        From the gradients of weights and biases over the batch and over its half; None where the batch is all noise.
        """
        if self._half is None:
            return None
        big, small = self._images, self._half_images
        model = range(sum(len(self._groups[name]) for name in ("weights", "biases")))
        of_big, of_small = (
            sum(float(gradients[i].square().sum()) for i in model) for gradients in (self._gradients, self._half[1])
        )
        slope = (big * of_big - small * of_small) / (big - small)
        noise = (of_small - of_big) / (1 / small - 1 / big)
        return noise / slope if slope > 0 else None

    def _step_lengths(
        self, steps: Sequence[torch.Tensor], after_loss: float, after: Sequence[torch.Tensor]
    ) -> dict[str, Any]:
        """The whole step's length, of weights and biases, and each group's by its slopes alone.

        Gradients of ranges are scaled (LSQ), so that they cannot stand beside losses.
        """
        start = dict(zip(self._groups, self._slopes(self._gradients, steps), strict=True))
        end = dict(zip(self._groups, self._slopes(after, steps), strict=True))
        of_half = dict(zip(self._groups, self._slopes(self._half[1], steps), strict=True)) if self._half else {}
        both = ("weights", "biases")
        whole = step_length(
            (self._loss, after_loss),
            (sum(start[name] for name in both), sum(end[name] for name in both)),
            abs(self._half[0] - self._loss) if self._half else None,
            abs(sum(of_half[name] - start[name] for name in both)) if self._half else None,
        )
        result = {"all": asdict(whole) | {"losses": [self._loss, after_loss]}}
        for name in self._groups:
            slopes = (start[name], end[name])
            if any(slopes):
                # The losses of the parabola that the slopes alone describe: they then decide nothing.
                losses = (0.0, (slopes[0] + slopes[1]) / 2)
                result[name] = asdict(step_length(losses, slopes)) | {"slopes": list(slopes)}
                del result[name]["parabola"]
        return result

    def _slopes(self, gradients: Sequence[torch.Tensor], steps: Sequence[torch.Tensor]) -> Iterator[float]:
        products = [float(torch.dot(g.flatten(), s.flatten())) for g, s in zip(gradients, steps, strict=True)]
        place = 0
        for parameters in self._groups.values():
            yield sum(products[place : place + len(parameters)])
            place += len(parameters)


@contextmanager
def untouched(student: Student) -> Iterator[None]:
    """Whatever runs within it, the student's parameters and buffers and the random generators are then as before."""
    state = {name: value.clone() for name, value in student.state_dict().items()}
    generators = capture_random_state()
    try:
        yield
    finally:
        student.load_state_dict(state)
        restore_random_state(*generators)


def finite(value: Any) -> Any:
    """Nested dicts and lists with None for every number that is not finite, which JSON has not."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def looked_at(student: Student, images: torch.Tensor) -> dict[str, dict[str, float]]:
    """By scale group: scale, zero point, shares of values `below` and `above` the range, of codes `used`, of channels.

    Of the activations of `images` (N, C, H, W); below the range of a ReLU's result is its own business, and no loss.
    A channel is `dead` where all its values have one code, `saturated` where more than half of them are outside.
    """
    if not isinstance(student, QuantizedModel):
        return {}
    histograms: dict[str, torch.Tensor] = {}
    counts: dict[str, list[float]] = {}

    def look(address: str, x: torch.Tensor) -> None:
        group = student.plan.groups[address]
        quantizer = student.range_of(group)
        low, high = quantizer.bounds
        codes = torch.div(x.detach(), quantizer.scale).round_()
        others = [axis for axis in range(codes.ndim) if axis != 1]
        above = (codes > high).sum(others)  # (C,)
        below = torch.zeros_like(above) if quantizer.learns == "scale" else (codes < low).sum(others)  # a ReLU's result
        codes.clamp_(low, high)
        dead = codes.amin(others) == codes.amax(others)
        saturated = 2 * (above + below) > codes.numel() // len(above)
        found = [float(x.sum()) for x in (below, above, dead, saturated)] + [codes.numel(), len(above)]
        counts[group] = [a + b for a, b in zip(counts.get(group, [0.0] * 6), found, strict=True)]
        histogram = torch.bincount(codes.sub_(low).int().flatten(), minlength=high - low + 1)
        histograms[group] = histogram + histograms.get(group, 0)

    with untouched(student), torch.no_grad():
        student.watch = look
        try:
            student(images)
        finally:
            student.watch = None
    rows = {}
    for group, (below, above, dead, saturated, values, channels) in counts.items():
        quantizer = student.range_of(group)
        rows[group] = {
            "scale": quantizer.scale_value,
            "zero_point": float(int(quantizer.zero_point)),
            "below": below / values,
            "above": above / values,
            "used": float((histograms[group] > 0).float().mean()),
            "dead": dead / channels,
            "saturated": saturated / channels,
        }
    return rows


def _first_half(parts: Sequence[Batch]) -> list[Batch]:
    """The first half of several parts, or of the images of the only one; nothing of a single image."""
    if len(parts) > 1:
        return [*parts[: len(parts) // 2]]
    images = len(parts[0]["img"])
    return [first_images(parts[0], images // 2)] if images > 1 else []


def _images(parts: Sequence[Batch]) -> int:
    return sum(0 if part.get("idle") else len(part["img"]) for part in parts)


def _learning(parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    return [parameter for parameter in parameters if parameter.requires_grad]


def _gradient(parameter: nn.Parameter) -> torch.Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _codes(student: Student, *, update: bool = False) -> dict[str, torch.Tensor]:
    """The weights' codes by layer; with `update`, by the scales that the next forward pass will have."""
    if not isinstance(student, QuantizedModel):
        return {}
    if update:
        with untouched(student):
            student.update_ranges()
            return _codes(student)
    found = {}
    for op in student.plan.ops:
        if op.weight and op.decision == INTEGER:
            module: Any = student.model.get_submodule(op.weight)
            weight, quantizer = module.weight.detach(), student.weight_quantizer(op)
            scale = quantizer.scale.view(-1, *[1] * (weight.ndim - 1))
            found[op.weight] = torch.div(weight, scale).round_().clamp_(-quantizer.format.qmax, quantizer.format.qmax)
    return found
