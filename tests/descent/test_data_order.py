"""Batches as functions of seed and position. Oracle: the same batches loaded another way."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgegd.data.dataset import open_dataset
from edgegd.data.view import ultralytics_yaml
from edgegd.detectors.batches import TrainingBatches
from edgegd.detectors.data_order import EpochOrder, SeededImages
from edgegd.recipe.schema import DataSection
from edgegd.recipe.training import TrainSection

NAMES = ("pedestrian", "car", "traffic sign")


@pytest.fixture(scope="module")
def view(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    dataset = open_dataset(DataSection(source="streets", path=str(tiny_set)))
    return ultralytics_yaml(dataset, tmp_path_factory.mktemp("view"))


def same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    keys = ("img", "cls", "bboxes", "batch_idx")
    pairs = zip(one, other, strict=False)
    return len(one) == len(other) and all(torch.equal(a[key], b[key]) for a, b in pairs for key in keys)


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_a_batch_depends_on_seed_and_position_only(view: Path, mosaic: float) -> None:
    settings = TrainSection(batch=3, mosaic=mosaic)
    batches = TrainingBatches(view, NAMES, settings, 64)
    first, second = list(batches.epoch(1)), list(batches.epoch(2))
    assert [len(batch["img"]) for batch in first] == [3, 3, 2] and len(batches) == 3
    assert not same(first, second)
    torch.rand(7), np.random.rand(7), random.random()  # what the model draws changes nothing
    other = TrainingBatches(view, NAMES, dataclasses.replace(settings, workers=2), 64)
    assert same(list(other.epoch(2, 1)), second[1:])  # by workers, and without what came before
    assert same(list(other.epoch(1)), first)
    assert not same(list(TrainingBatches(view, NAMES, dataclasses.replace(settings, seed=1), 64).epoch(1)), first)


def test_an_epoch_has_every_image_once() -> None:
    order = EpochOrder(10, 4, seed=0)
    order.start(3, 0)
    batches = list(order)
    assert [len(batch) for batch in batches] == [4, 4, 2] and {epoch for batch in batches for epoch, _ in batch} == {3}
    assert sorted(index for batch in batches for _, index in batch) == list(range(10))
    order.start(3, 2)
    assert list(order) == batches[2:]
    order.start(4, 0)
    assert list(order) != [[(4, index) for _, index in batch] for batch in batches]


class Drawing:
    """Items that are random numbers of all three generators."""

    def __getitem__(self, index: int) -> tuple[float, float, float]:
        return random.random(), np.random.rand(), torch.rand(()).item()


def test_loading_leaves_the_generators_as_they_were() -> None:
    images = SeededImages(Drawing(), seed=5)
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    expected = Drawing()[0]
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    drawn = images[1, 2]
    assert Drawing()[0] == expected
    assert images[1, 2] == drawn and images[1, 3] != drawn and images[2, 2] != drawn
