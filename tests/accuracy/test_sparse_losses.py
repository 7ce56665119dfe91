"""What a sparse loss may hide. Oracle: the binomial distribution itself, and losses drawn by lot."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from edgegd.accuracy.matches import ClassMatches, Matches
from edgegd.accuracy.sparse_losses import LostBoxes, hidden_loss, lost_boxes

RECALLS = np.linspace(0, 1, 101)


def of_counts(*classes: tuple[list[int], list[int]]) -> Matches:
    """For each class the boxes found on each image, without a false detection, and those labelled."""
    made = []
    for found, labelled in classes:
        images = np.repeat(np.arange(len(found)), found)
        true = np.ones((10, len(images)), bool)
        made.append(ClassMatches(images, true, ~true, np.array(labelled)))
    return Matches(len(classes[0][0]), RECALLS, tuple(made))


def test_the_share_is_the_largest_that_shows_so_few_with_the_probability_asked_for() -> None:
    for images, damaged in ((30, 0), (100, 3), (87, 40)):
        hidden = LostBoxes(images, damaged, 1.0, 1.0).hidden(0.02)
        assert binom.cdf(damaged, images, hidden + damaged / images) == pytest.approx(0.02)
    assert LostBoxes(5, 5, 1.0, 1.0).hidden(0.02) == 0.0  # all images have it: nothing is hidden


def test_more_images_hide_less_and_what_a_box_costs_multiplies_it() -> None:
    one = LostBoxes(30, 1, 2.0, 0.1)
    assert one.hidden(0.02, 10) < one.hidden(0.02) / 2
    assert one.hidden(0.02) == pytest.approx(0.2 * LostBoxes(30, 1, 1.0, 1.0).hidden(0.02))
    assert hidden_loss((one, LostBoxes(30, 1, 4.0, 0.1)), 0.02) == pytest.approx(2 * one.hidden(0.02))
    assert hidden_loss((), 0.02) == 0.0


def test_lost_boxes_are_counted_by_class_and_image() -> None:
    labelled = [2, 2, 2, 0, 2]
    reference = of_counts((labelled, labelled), ([1, 1, 0, 0, 0], [1, 1, 0, 0, 0]))
    candidate = of_counts(([2, 0, 1, 0, 2], labelled), ([1, 1, 0, 0, 0], [1, 1, 0, 0, 0]))
    first, second = lost_boxes(candidate, reference)
    assert (first.images, first.damaged, first.boxes) == (4, 2, 1.5)
    assert first.worth == pytest.approx(1 / 2 / 2)  # half of mAP is this class's, and its images have two boxes each
    assert (second.images, second.damaged, second.boxes, second.worth) == (2, 0, 1.0, pytest.approx(0.5))


def test_a_box_that_is_only_placed_a_little_worse_is_not_lost() -> None:
    found = ClassMatches(np.array([0]), np.ones((10, 1), bool), np.zeros((10, 1), bool), np.array([1]))
    moved = ClassMatches(found.images, np.arange(10)[:, None] < 8, found.ignored, found.truth)
    lost = ClassMatches(found.images, np.arange(10)[:, None] < 7, found.ignored, found.truth)
    damaged = [
        lost_boxes(Matches(1, RECALLS, (one,)), Matches(1, RECALLS, (found,)))[0].damaged for one in (moved, lost)
    ]
    assert damaged == [0, 1]


def test_a_loss_of_one_class_on_few_images_seldom_passes_for_less_than_it_is() -> None:
    random, images, share = np.random.default_rng(3), 60, 0.04
    one = [1] * images
    wrong = 0
    for _ in range(300):
        found = (random.random(images) >= share).astype(int).tolist()
        candidate, reference = of_counts((found, one), (one, one)), of_counts((one, one), (one, one))
        seen = found.count(0) / images / 2
        wrong += seen + hidden_loss(lost_boxes(candidate, reference), 0.025) < share / 2
    assert wrong / 300 <= 0.05
