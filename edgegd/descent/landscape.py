"""The loss around a descent: over a plane of weights, and along one of its steps, in float and under fake quantization.

The float model is the same weights and biases with nothing rounded. Nothing is learned here: states are loaded, losses
are computed, and the model and all random generators are put back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from edgegd.descent.plane import Plane, State
from edgegd.descent.random_state import capture_random_state, restore_random_state
from edgegd.descent.schedule import learning_rate_factor, ranges_learn
from edgegd.descent.telemetry import untouched
from edgegd.descent.training import Training
from edgegd.detectors.batches import EpochBatches
from edgegd.detectors.student import FloatStudent, Student
from edgegd.progress import Progress

FORMS = ("float", "quantized")
Losses = dict[str, float | None]


class Surface:
    """The loss of one batch at any state, by form: that of the descent's own training, distillation included."""

    def __init__(self, training: Training, batch: dict[str, Any]) -> None:
        self._training, self._batch = training, training.prepared(batch)
        quantized = training.student
        self._students: dict[str, Student] = {"float": FloatStudent(quantized.model), "quantized": quantized}

    def at(self, state: State) -> Losses:
        """The losses by form, per image; None for one that is not finite. Changes the student."""
        quantized = self._students["quantized"]
        quantized.load_state_dict(state)
        quantized.train()
        losses = {form: self._loss(student) for form, student in self._students.items()}
        return {form: loss if math.isfinite(loss) else None for form, loss in losses.items()}

    @torch.no_grad()
    def _loss(self, student: Student) -> float:
        own, self._training.student = self._training.student, student
        generators = capture_random_state()  # RT-DETR's denoising draws: the same noise at every place
        try:
            return float(self._training.loss_of(self._batch)[0])
        finally:
            self._training.student = own
            restore_random_state(*generators)


@contextmanager
def surface(training: Training, batch: dict[str, Any]) -> Iterator[Surface]:
    """A Surface; afterwards the student and all random generators are as they were."""
    student, was_training = training.student, training.student.training
    try:
        with untouched(student):
            yield Surface(training, batch)
    finally:
        student.train(was_training)


def over_plane(
    losses: Surface, plane: Plane, xs: Sequence[float], ys: Sequence[float], progress: Progress
) -> dict[str, list[list[float | None]]]:
    """By form the losses at (x, y), a row for each y."""
    found: dict[str, list[list[float | None]]] = {form: [] for form in FORMS}
    for row, y in enumerate(ys):
        for form in FORMS:
            found[form].append([])
        for column, x in enumerate(xs):
            for form, loss in losses.at(plane.state(x, y)).items():
                found[form][-1].append(loss)
            progress.update(row * len(xs) + column + 1, len(xs) * len(ys), "places of the plane")
    return found


@dataclass(frozen=True)
class Step:
    """One step of a descent, made again: the states `before` and `after` it, its batch, its row of telemetry."""

    number: int
    before: dict[str, torch.Tensor]
    after: dict[str, torch.Tensor]
    batch: dict[str, Any]
    loss: float
    length: dict[str, Any]
    """What the probe says of the step's length (docs/telemetry.md, `step_length`, `all`)."""


def repeat_step(training: Training, batches: EpochBatches, number: int, progress: Progress) -> Step:
    """Makes the first steps of a descent again, up to step `number` (from 1), and looks at that one closely.

    The same rates, batches and ranges as in fine_tune: bit for bit the descent's own step on the machine that made it.
    """
    settings, per_epoch = training.settings, len(batches)
    steps, warmup = settings.epochs * per_epoch, round(settings.warmup_epochs * per_epoch)
    student = training.student
    for epoch in range(1, settings.epochs + 1):
        learn = ranges_learn(epoch, settings)
        if not learn and (epoch == 1 or ranges_learn(epoch - 1, settings)):
            training.freeze_ranges()
        student.learn_ranges(learn)
        student.train()
        for batch in batches.epoch(epoch):
            is_last = training.step + 1 == number
            before = _copy(student) if is_last else {}
            factor = learning_rate_factor(training.step, steps, warmup, settings.lrf)
            result = training.take_step(batch, factor, training.step / max(steps - 1, 1), probed=is_last)
            progress.update(training.step, number, "steps made again")
            if is_last:
                length = training.telemetry["detail"]["step_length"]["all"]
                return Step(number, before, _copy(student), batch, result["loss"], length)
    raise ValueError(f"the descent has {steps} steps")


def along_step(losses: Surface, step: Step, ts: Sequence[float], progress: Progress) -> dict[str, list[float | None]]:
    """By form the losses at the weights, biases and ranges that are `t` times the step from where it began."""
    moved = {
        name: (value.double(), step.after[name].double() - value.double())
        for name, value in step.before.items()
        if value.is_floating_point()
    }
    found: dict[str, list[float | None]] = {form: [] for form in FORMS}
    for number, t in enumerate(ts, 1):
        state = {name: (start + t * way).float() for name, (start, way) in moved.items()}
        for form, loss in losses.at({**step.before, **state}).items():
            found[form].append(loss)
        progress.update(number, len(ts), "places along the step")
    return found


def roughness(losses: Sequence[float | None]) -> float | None:
    """How far losses at equal distances are from a smooth curve: the root mean square of second differences, / 6^0.5.

    Of independent errors it is their standard deviation; None for less than three losses, or where one is not finite.
    """
    known = [loss for loss in losses if loss is not None]
    if len(known) < 3 or len(known) < len(losses):
        return None
    second = [a - 2 * b + c for a, b, c in zip(known, known[1:], known[2:], strict=False)]
    return math.sqrt(sum(value * value for value in second) / len(second) / 6)


def _copy(student: Student) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in student.state_dict().items()}
