"""Splits that differ are found, splits dealt by chance are not. Oracle: scipy's measure of association."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgegd.data.doctor.resemblance import Resemblance
from edgegd.data.doctor.skew_checks import cramers_v, differences, skewed_splits
from edgegd.data.doctor.survey import ImageRecord, Survey
from edgegd.data.yaml_set import DataYaml

stats = pytest.importorskip("scipy.stats")


def set_of(train: list[list[int]], val: list[list[int]], names: tuple[str, ...] = ("a", "b", "c")) -> Survey:
    """A set of images that each have boxes of these classes, all alike otherwise."""
    images = tuple(
        ImageRecord(
            Path(f"/{split}/{place}.jpg"),
            split,
            np.array([[kind, 0.5, 0.5, 0.2, 0.2] for kind in kinds]).reshape(-1, 5),
            height=100,
            width=100,
        )
        for split, every in (("train", train), ("val", val))
        for place, kinds in enumerate(every)
    )
    described = DataYaml(Path("/data.yaml"), Path("/"), names, {})
    pictures = np.zeros((len(images), 32, 32), np.uint8)
    return Survey(described, (640, 640), images, pictures, Resemblance(np.arange(len(images)), is_complete=True))


def test_cramers_v_is_scipys() -> None:
    rng = np.random.default_rng(0)
    tables = rng.integers(1, 60, (4, 2, 5)).astype(float)
    tables[1:] *= tables[0].sum(axis=0) / tables[1:].sum(axis=1, keepdims=True)  # the same sums of both rows
    found = cramers_v(tables[:, 0].T, tables[0].sum(axis=0))
    for table, value in zip(tables, found, strict=True):
        chi_squared = stats.chi2_contingency(table, correction=False).statistic
        assert value == pytest.approx(np.sqrt(chi_squared / table.sum()), rel=1e-9)
    whole = tables[0].astype(int)
    assert found[0] == pytest.approx(stats.contingency.association(whole, method="cramer"), rel=1e-9)


def test_another_mixture_is_found_with_its_class() -> None:
    finding = skewed_splits(set_of([[0, 1]] * 30, [[0, 2]] * 30))
    assert finding is not None and "the mixture of classes" in finding.sentence
    assert "is 0.0% of the boxes, 50.0% in train" in finding.examples[0]


def test_boxes_of_one_image_are_not_taken_for_independent() -> None:
    rng = np.random.default_rng(1)
    images = [[int(kind)] * 40 for kind in rng.integers(0, 3, 60)]  # each image full of one class
    survey = set_of(images[:40], images[40:])
    mixture = differences(survey)[0]
    counts = np.array([np.bincount(np.concatenate(part), minlength=3) for part in (images[:40], images[40:])])
    assert stats.chi2_contingency(counts).pvalue < 1e-6 and mixture.effect >= mixture.threshold
    assert mixture.probability > 0.05 and skewed_splits(survey) is None
    assert mixture.by_chance is not None and mixture.by_chance > 0.3  # the set is too small to tell, and says so


def test_splits_by_chance_are_rarely_called_skewed() -> None:
    rng = np.random.default_rng(2)
    found = 0
    for _ in range(20):
        images = [rng.integers(0, 3, rng.integers(0, 6)).tolist() for _ in range(60)]
        found += skewed_splits(set_of(images[:40], images[40:])) is not None
    assert found == 0


def test_a_significant_and_small_difference_is_no_finding() -> None:
    rng = np.random.default_rng(3)
    train, val = ((rng.random(3000) < share).astype(int)[:, None].tolist() for share in (0.5, 0.57))
    mixture = differences(set_of(train, val))[0]
    assert mixture.probability <= 0.001 and mixture.effect < mixture.threshold and not mixture.is_found


@pytest.mark.parametrize(
    ("train", "val"),
    [([[0]], [[1]]), ([[0]] * 20, [[0]] * 20), ([[]] * 20, [[0, 1]] * 20), ([[0]] * 20, [])],
    ids=["one image each", "one class", "no boxes in train", "no val"],
)
def test_sets_that_cannot_be_compared(train: list[list[int]], val: list[list[int]]) -> None:
    for one in differences(set_of(train, val)):
        assert 0 <= one.probability <= 1 and np.isfinite(one.effect)
