"""The range test on a small model. Oracles: the student before it, bit for bit, and steps that cannot move anything."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import numpy as np
import pytest
import torch

from edgegd.descent.held_out import mean_loss
from edgegd.descent.lr_range import (
    DECADES,
    GROUPS,
    SEARCHED,
    STEPS,
    Curve,
    batches_in_order,
    groups_that_learn,
    losses_at_start,
    range_curve,
    rates_between,
    rates_to_test,
)
from edgegd.descent.taken_back import taken_back
from edgegd.errors import NaNLossError
from edgegd.recipe.training import TrainSection

SECTION = TrainSection(grad_clip=10.0)
RATES = rates_between(1e-5, 1e-3, 2)


def everything(student: Any) -> dict[str, Any]:
    """All that a test may not change: bits, what learns, modes, gradients, the generators' next numbers."""
    state = {name: value.clone() for name, value in student.state_dict().items()}
    values: dict[str, Any] = {f"state {name}": value.numpy().tobytes() for name, value in state.items()}
    for name, parameter in student.named_parameters():
        values[f"learns {name}"] = parameter.requires_grad
        values[f"gradient {name}"] = None if parameter.grad is None else parameter.grad.numpy().tobytes()
    values |= {f"mode {name}": module.training for name, module in student.named_modules()}
    values["torch"], values["numpy"] = torch.get_rng_state().numpy().tobytes(), np.random.get_state()[1].tobytes()
    return values | {"python": random.getstate()}


def starts(student: Any, batches: Any, count: int = len(RATES) + 1) -> list[float]:
    return losses_at_start(student, batches, SECTION, None, count)


@pytest.mark.parametrize("kind", ["tied", "learned", "end2end", "swapped"])
def test_everything_is_as_before(kind: str, calibrated: Any, swapped: Any, batches: Any) -> None:
    make = {
        "tied": calibrated,
        "learned": lambda: calibrated(learned=True),
        "end2end": lambda: calibrated("small-end2end", True),
        "swapped": swapped,
    }[kind]
    student = make().eval()
    next(student.parameters()).grad = torch.ones_like(next(student.parameters()))
    before = everything(student)
    at_start = starts(student, batches)
    for group in groups_that_learn(student):
        curve = range_curve(student, batches, SECTION, group, RATES, at_start)
        assert curve.changes, group
        assert everything(student) == before
    assert groups_that_learn(student) == (GROUPS[:2] if kind == "swapped" else GROUPS)
    mean_loss(student, batches, SECTION, None)
    assert everything(student) == before


def test_everything_is_as_before_where_it_fails(calibrated: Any, batches: Any) -> None:
    student = calibrated().eval()
    before = everything(student)
    with pytest.raises(KeyError), taken_back(student):
        student.train()
        student.learn_ranges(False)
        torch.rand(3), random.random(), np.random.rand()
        with torch.no_grad():
            next(student.parameters()).add_(1)
        raise KeyError
    assert everything(student) == before


@pytest.mark.parametrize("group", GROUPS)
def test_one_group_alone_moves(group: str, calibrated: Any, batches: Any) -> None:
    student = calibrated()
    names = {name: name.rpartition(".")[2] for name, _ in student.named_parameters()}
    before = {name: value.detach().clone() for name, value in student.named_parameters()}
    moved: set[str] = set()

    def look() -> None:
        moved.update(names[n] for n, value in student.named_parameters() if not torch.equal(value, before[n]))

    range_curve(student, batches, SECTION, group, RATES, starts(student, batches), on_step=look)
    expected = {"weights": "weight", "biases": "bias", "scales": "log_scale", "zero_points": "shift"}
    assert moved == {expected[group]}


def test_a_rate_that_moves_nothing_changes_no_loss_and_a_huge_one_ends_the_curve(calibrated: Any, batches: Any) -> None:
    student = calibrated()
    at_start = starts(student, batches, 8)
    still = range_curve(student, batches, SECTION, "weights", rates_between(1e-30, 1e-27, 2), at_start, seed=5)
    assert still.changes == (0.0,) * 7 and (still.seed, still.end) == (5, "")
    wild = range_curve(student, batches, SECTION, "weights", rates_between(1e-2, 1e3, 1), at_start)
    assert wild.end in ("diverged", "not finite") and len(wild.rates) < 6
    assert len(wild.rates) == len(wild.changes) and list(wild.rates) == sorted(set(wild.rates))


def test_every_batch_is_judged_before_it_is_learned_from(calibrated: Any, batches: Any) -> None:
    """Oracle: the change behind the first step is that of the second batch's loss, by a training of one step."""
    from edgegd.descent.lr_range import learn_only
    from edgegd.descent.training import Training

    student = calibrated()
    at_start = starts(student, batches, 3)
    curve = range_curve(student, batches, SECTION, "biases", (1e-3, 2e-3), at_start)
    other = calibrated()
    learn_only(other, "biases")
    training = Training(other, TrainSection(lr0=1e-3), None)
    other.train()
    training.take_step(batches[0], 1.0, 0.0)
    with torch.no_grad():
        loss = float(training.loss_of(training.prepared(batches[1]))[0])
    assert curve.changes[0] == pytest.approx(loss - at_start[1], abs=1e-6)
    assert curve.changes[0] != 0


def test_rates_rise_by_one_factor_and_the_test_ends_where_the_search_diverged() -> None:
    rates = rates_between(*SEARCHED, 2)
    assert len(rates) <= STEPS and rates[0] == SEARCHED[0] and rates[-1] == pytest.approx(SEARCHED[1])
    assert all(b / a == pytest.approx(10**0.5) for a, b in itertools.pairwise(rates))
    for end, highest in (("diverged", 1e-2), ("not finite", 1e-2 * 10**0.5), ("", 1e-2)):
        tested = rates_to_test(Curve("weights", 0, (1e-4, 1e-3, 1e-2), (0.0, 0.0, 1.0), end))
        assert tested[-1] == pytest.approx(highest) and tested[0] == pytest.approx(highest / 10**DECADES)
        assert len(tested) <= STEPS and list(tested) == sorted(tested)


def test_batches_go_on_with_the_next_epoch(batches: Any) -> None:
    seen = list(batches_in_order(batches, 5))
    assert [id(batch) for batch in seen] == [id(batches[n % 2]) for n in range(5)]


def test_a_model_without_a_finite_loss_is_told(calibrated: Any, batches: Any) -> None:
    student = calibrated()
    loss = student.model.criterion.loss

    def poisoned(predictions: Any, batch: Any) -> Any:
        losses, parts = loss(predictions, batch)
        return losses * math.nan, parts

    student.model.criterion.loss = poisoned
    before = everything(student)
    with pytest.raises(NaNLossError, match="batch 1 is nan before the first step") as caught:
        starts(student, batches)
    assert caught.value.exit_code == 60 and everything(student) == before
