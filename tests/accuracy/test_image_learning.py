"""Kinds of images by their losses. Oracle: curves drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgegd.accuracy.image_learning import last_losses, learning_kinds

NAN = float("nan")
CURVES = {
    "never learned": [9, 9, 9, 9, 9, 9],
    "forgotten": [9, 2, 1, 1, 8, 9],
    "learned late": [9, 9, 9, 1, 2, 1],
    "learned": [9, 1, 9, 1, 1, 2],  # high for a moment, and not at the end
    "not judged": [9, NAN, NAN, NAN, NAN, 9],
}


def table(*curves: list[float]) -> np.ndarray:
    """The curves between twenty ordinary images, whose losses lie between 1 and 2."""
    ordinary = np.random.default_rng(0).uniform(1, 2, (6, 20))
    return np.column_stack([ordinary, *curves]).astype(np.float32)


@pytest.mark.parametrize("kind", CURVES)
def test_each_curve_has_its_kind(kind: str) -> None:
    kinds = learning_kinds(table(CURVES[kind]))
    assert kinds == ["learned"] * 20 + [kind]


def test_high_is_beside_the_other_images_of_the_epoch() -> None:
    falling = table(CURVES["never learned"]) * np.array([[64, 32, 16, 8, 4, 2]], np.float32).T
    assert learning_kinds(falling)[-1] == "never learned" and set(learning_kinds(falling)[:-1]) == {"learned"}


def test_nothing_recorded_is_nothing_judged() -> None:
    assert learning_kinds(np.zeros((0, 3), np.float32)) == ["not judged"] * 3
    assert learning_kinds(np.full((5, 1), np.nan, np.float32)) == ["not judged"]
    assert learning_kinds(np.ones((4, 1), np.float32)) == ["learned"]  # one image


def test_the_last_losses_are_those_that_were_seen() -> None:
    means = last_losses(np.array([[9, NAN], [1, NAN], [2, NAN], [NAN, NAN], [3, NAN]], np.float32))
    assert means[0] == 2 and np.isnan(means[1])
