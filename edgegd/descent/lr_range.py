"""The learning rate range test: one parameter group's rate raised step by step over decades (Smith 2017, section 3.3).

Every batch is judged before it is learned from: its loss then, minus its loss under the parameters before the first
step. That difference says what the rates up to here have done, to images that were not learned from (in the first
epoch), and without the differences between batches, which are larger than what a trained detector can gain.

One group learns, the others are frozen: with the others at the recipe's rates, a curve would show their gain and their
damage as well, at the lowest rates too. So a curve says nothing of how the groups act together.

Where to look is found first, by rates that rise from far below any use, two a decade, until the loss diverges; the test
proper takes the decades below that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from edgegd.descent.taken_back import taken_back
from edgegd.descent.training import Training
from edgegd.detectors.batches import EpochBatches
from edgegd.detectors.distillation import Distiller
from edgegd.detectors.student import Student
from edgegd.errors import NaNLossError
from edgegd.recipe.training import TrainSection

GROUPS = ("weights", "biases", "scales", "zero_points")
DIVERGED = 0.5
"""A test ends where the loss has risen by this share of the loss at the start."""
SEARCHED = (1e-7, 1e3)
DECADES, PER_DECADE = 3.5, 6
STEPS = max(math.ceil(DECADES * PER_DECADE), 2 * round(math.log10(SEARCHED[1] / SEARCHED[0]))) + 1
"""The most steps of a curve; it needs one batch more."""


@dataclass(frozen=True)
class Curve:
    """One group's curve with one seed: behind the step at `rates[i]`, the next batch's loss had changed by
    `changes[i]`. `end` says why it ends: `diverged`, `not finite`, or `` where the rates were used up."""

    group: str
    seed: int
    rates: tuple[float, ...]
    changes: tuple[float, ...]
    end: str


def rates_between(low: float, high: float, per_decade: int) -> tuple[float, ...]:
    """Rates that rise by one factor, `per_decade` of them in a decade, from `low` to at least `high`."""
    count = math.ceil(round(math.log10(high / low) * per_decade, 9))
    return tuple(low * 10 ** (number / per_decade) for number in range(count + 1))


def rates_to_test(search: Curve) -> tuple[float, ...]:
    """The rates of a group's test: up to where a curve over `SEARCHED` diverged, or to its end."""
    highest = search.rates[-1] if search.rates else SEARCHED[0]
    if search.end == "not finite":
        highest *= 10**0.5  # the curve ends with the last loss that was finite
    return rates_between(highest / 10**DECADES, highest, PER_DECADE)


def batches_in_order(batches: EpochBatches, count: int) -> Iterator[dict[str, Any]]:
    """The first `count` batches of a training: epoch 1 from its start, and where it is too short, those after it."""
    epoch = 0
    while count > 0:
        epoch += 1
        for batch in batches.epoch(epoch):
            yield batch
            count -= 1
            if not count:
                return


@torch.no_grad()
def losses_at_start(
    student: Student, batches: EpochBatches, settings: TrainSection, distiller: Distiller | None, count: int
) -> list[float]:
    """The loss of each of the first `count` batches under the student's parameters as they are.

    Raises NaNLossError where one of them is not finite: there is nothing to compare with.
    """
    losses = []
    with taken_back(student):
        training = Training(student, _unit_rates(settings), distiller)
        student.train()
        for number, batch in enumerate(batches_in_order(batches, count), 1):
            loss = float(training.loss_of(training.prepared(batch))[0])
            if not math.isfinite(loss):
                raise NaNLossError(
                    f"The loss of batch {number} is {loss} before the first step: no rate can be judged.",
                    expected="a finite loss of the model as it is",
                    mend="calibrate anew (`edgegd ptq --force RUN_DIR`), or look for broken labels",
                )
            losses.append(loss)
    return losses


def range_curve(
    student: Student,
    batches: EpochBatches,
    settings: TrainSection,
    group: str,
    rates: Sequence[float],
    starts: Sequence[float],
    *,
    seed: int = 0,
    distiller: Distiller | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> Curve:
    """Takes a step at each of `rates`, in the recipe's units, on the first batches of a training, and takes all back.

    `starts` are `losses_at_start` of one batch more than there are rates. The rate of `zero_points` is that of their
    recipe key train.range_lr, a fraction of the codes. Raises ValueError for a group without parameters that learn.
    """
    changes: list[float] = []
    end = ""
    with taken_back(student):
        learn_only(student, group)
        training = Training(student, _unit_rates(settings), distiller)
        student.train()
        for number, batch in enumerate(batches_in_order(batches, len(rates) + 1)):
            rate = rates[min(number, len(rates) - 1)]
            loss = training.take_step(batch, rate, 0.0)["loss"]
            on_step()
            if number:
                changes.append(loss - starts[number])
            end = "" if math.isfinite(loss) else "not finite"
            if not end and changes and changes[-1] > DIVERGED * abs(starts[number]):
                end = "diverged"
            if end:
                break
    finite = [change for change in changes if math.isfinite(change)]
    return Curve(group, seed, tuple(rates[: len(finite)]), tuple(finite), end)


def learn_only(student: Student, group: str) -> None:
    """Freezes what is not in a parameter group; ValueError where nothing is left that learns."""
    ranges = student.range_parameters()
    if group in ranges:
        own = {id(parameter) for parameter in ranges[group]}
    else:
        own = {id(p) for p in student.model.parameters() if (p.ndim > 1) == (group == "weights")}
    left = 0
    for parameter in student.parameters():
        parameter.requires_grad_(parameter.requires_grad and id(parameter) in own)
        left += parameter.requires_grad
    if not left:
        raise ValueError(f"nothing in the group {group} learns")


def groups_that_learn(student: Student) -> tuple[str, ...]:
    """The parameter groups in which something learns."""
    ranges = {name: any(p.requires_grad for p in parameters) for name, parameters in student.range_parameters().items()}
    return tuple(group for group in GROUPS if ranges.get(group, True))


def _unit_rates(settings: TrainSection) -> TrainSection:
    """Settings whose peak rates are 1, so that a step's factor is its rate; nothing oscillates or is damped."""
    return replace(settings, lr0=1.0, bias_lr=1.0, range_lr=1.0, oscillation="off")
