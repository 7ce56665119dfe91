"""What changes over the steps. Oracle: closed formulas."""

from __future__ import annotations

from itertools import pairwise

import pytest

from edgegd.descent.schedule import half_cosine, learning_rate_factor, ranges_learn
from edgegd.recipe.training import TrainSection


def test_the_learning_rate_rises_linearly_and_falls_as_a_cosine():
    rates = [learning_rate_factor(step, 104, 4, 0.01) for step in range(105)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates[4] == pytest.approx(1.0)
    assert rates[54] == pytest.approx(0.01 + 0.99 / 2)  # half-way
    assert rates[104] == pytest.approx(0.01)
    assert all(earlier > later for earlier, later in pairwise(rates[4:]))
    assert learning_rate_factor(0, 1, 0, 0.01) == pytest.approx(1.0)


def test_half_a_cosine_goes_from_one_to_zero():
    assert [half_cosine(p) for p in (0.0, 1 / 3, 0.5, 1.0)] == pytest.approx([1.0, 0.75, 0.5, 0.0])


@pytest.mark.parametrize(
    ("frozen", "expected"), [(0, [True] * 3), (1, [True, True, False]), (3, [False] * 3), (9, [False] * 3)]
)
def test_ranges_learn_until_the_last_epochs(frozen, expected):
    settings = TrainSection(epochs=3, freeze_ranges_epochs=frozen)
    assert [ranges_learn(epoch, settings) for epoch in (1, 2, 3)] == expected
