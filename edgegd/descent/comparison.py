"""Optimizers side by side: one training of each from the same start, on the same images in the same order.

Weights and biases learn; ranges stay as they were calibrated, because their gradients have a scale of their own, which
no optimizer without a second moment meets with a rate that suits weights. A batch larger than the recipe's is
accumulated from smaller ones within an epoch; so all contenders see the images of an epoch in one order, whatever their
batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from edgegd.descent.schedule import learning_rate_factor
from edgegd.descent.step_length import step_length
from edgegd.descent.taken_back import taken_back
from edgegd.descent.training import Training
from edgegd.detectors.batches import EpochBatches
from edgegd.recipe.training import TrainSection

FULL = "full"
OPTIMIZERS = {"SGD": "SGD", "SGD+momentum": "SGD", "Adam": "Adam", "AdamW": "AdamW", "MuSGD": "MuSGD"}
"""Name -> the optimizer of train.optimizer; SGD alone is plain, and all others have the recipe's momentum."""
WITHOUT_SECOND_MOMENT = ("SGD", "SGD+momentum")
POINTS = 6
"""How often a training is looked at, beside its start."""
Batch = dict[str, Any]


@dataclass(frozen=True)
class Contender:
    """An optimizer with its batch in images (FULL: all of an epoch) and its peak learning rate."""

    optimizer: str
    batch: int | str
    rate: float

    def settings(self, train: TrainSection) -> TrainSection:
        """The recipe's section for this optimizer: its rate is that of weights and biases."""
        momentum = 0.0 if self.optimizer == "SGD" else train.momentum or 0.9
        return replace(
            train,
            optimizer=OPTIMIZERS[self.optimizer],
            momentum=momentum,
            lr0=self.rate,
            bias_lr=None,
            range_lr=0.0,
            oscillation="off",
        )


@dataclass
class Trace:
    """One training, seen at its start and at most POINTS times.

    After so many `images`, in so many `seconds` of training alone, the loss of held-out images was `losses`; `steps`
    has the length of the step before each of these moments. `diverged` ends it: a loss or a gradient was not finite.
    """

    seed: int
    images: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    training_losses: list[float] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    step_count: int = 0
    diverged: bool = False
    map50_95: float | None = None
    noise: dict[str, Any] | None = None


def micro_batch(batch: int | str, largest: int) -> int:
    """The images of the batches that one of `batch` is accumulated from: its largest divisor that is at most
    `largest`."""
    if batch == FULL:
        return largest
    return max(size for size in range(1, largest + 1) if int(batch) % size == 0)


def steps_of_epoch(batches: EpochBatches, number: int, batch: int | str) -> Iterator[list[Batch]]:
    """The batches of an epoch, collected until there are `batch` images; the last of an epoch may be smaller."""
    collected: list[Batch] = []
    for one in batches.epoch(number):
        collected.append(one)
        if batch != FULL and sum(len(part["img"]) for part in collected) >= int(batch):
            yield collected
            collected = []
    if collected:
        yield collected


def steps_in_all(images: int, batch: int | str, epochs: int) -> int:
    """How many steps `epochs` epochs of so many images are."""
    return epochs * (1 if batch == FULL else math.ceil(images / int(batch)))


def trained(
    training: Training,
    batches: EpochBatches,
    contender: Contender,
    epochs: int,
    images: int,
    held_out: Callable[[], float],
    trace: Trace,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Runs `epochs` epochs of `images` images each, and fills the trace; the student then has its last parameters.

    The schedule is the recipe's, over as many steps as the contender takes. `held_out()` is the loss by which it is
    judged; neither its time nor that of measuring the step's length counts.
    """
    settings, student = training.settings, training.student
    steps = steps_in_all(images, contender.batch, epochs)
    warmup = round(settings.warmup_epochs * steps / epochs)
    looked_at = {math.ceil(steps * (number + 1) / POINTS) for number in range(POINTS)}
    student.learn_ranges(False)
    student.train()
    seen, seconds = 0, 0.0
    _look(trace, seen, seconds, held_out())
    for number in range(1, epochs + 1):
        for parts in steps_of_epoch(batches, number, contender.batch):
            factor = learning_rate_factor(training.step, steps, warmup, settings.lrf)
            before = [p.detach().clone() for p in training.parameters] if training.step + 1 in looked_at else []
            begun = time.perf_counter()
            result = training.take_step(parts, factor, 0.0)
            seconds += time.perf_counter() - begun
            seen += sum(len(part["img"]) for part in parts)
            if not math.isfinite(result["loss"]):
                trace.diverged = True
                return
            trace.step_count += 1
            trace.training_losses.append(result["loss"])
            on_step(training.step, steps)
            if before:
                trace.steps.append({"images": seen} | _length(training, parts, before, result["loss"]))
                _look(trace, seen, seconds, held_out())
                if not math.isfinite(trace.losses[-1]):
                    trace.diverged = True
                    return


def _look(trace: Trace, images: int, seconds: float, loss: float) -> None:
    trace.images.append(images)
    trace.seconds.append(round(seconds, 3))
    trace.losses.append(loss)


def _length(training: Training, parts: Sequence[Batch], before: Sequence[torch.Tensor], loss: float) -> dict[str, Any]:
    """The length of the step just taken (edgegd.descent.step_length), from its batch before and after it."""
    norm, clip = training.telemetry["gradient"]["all"], training.settings.grad_clip
    shrunk = min(1.0, clip / (norm + 1e-6)) if clip else 1.0  # what clip_grad_norm_ did to the gradients that are left
    steps = [p.detach() - old for p, old in zip(training.parameters, before, strict=True)]
    start = _slope(training, steps) / shrunk
    with taken_back(training.student):
        after, _ = training.accumulated_gradient(parts)
        end = _slope(training, steps) / training.scaler.get_scale()
    found = step_length((loss, float(after)), (start, end))
    return {"alpha": found.alpha, "kind": found.kind}


def _slope(training: Training, steps: Sequence[torch.Tensor]) -> float:
    return sum(
        float(torch.dot(parameter.grad.flatten(), step.flatten()))
        for parameter, step in zip(training.parameters, steps, strict=True)
        if parameter.grad is not None
    )
