"""Training images of one size (H, W) and of any channels. Oracle: Ultralytics' own data set, and the boxes' colours."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ultralytics.data.build import build_yolo_dataset

from edgegd.data.dataset import open_dataset
from edgegd.data.view import ultralytics_yaml
from edgegd.detectors.batches import TrainingBatches, hyperparameters
from edgegd.detectors.sized_images import SizedImages
from edgegd.network_size import NetworkSize
from edgegd.recipe.schema import DataSection
from edgegd.recipe.training import TrainSection

cv2 = pytest.importorskip("cv2")
NAMES = {0: "pedestrian", 1: "car", 2: "traffic sign"}
MARKED = {0: "mark"}


def _seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_squares_are_those_of_ultralytics(tiny_set: Path, tmp_path: Path, mosaic: float, channels: int) -> None:
    view = ultralytics_yaml(open_dataset(DataSection(source="streets", path=str(tiny_set))), tmp_path)
    hyp = hyperparameters(TrainSection(mosaic=mosaic, scale=0.4), 96)
    list_file = str(view.with_name("train.txt"))
    theirs: Any = build_yolo_dataset(hyp, list_file, 4, {"names": NAMES, "nc": 3, "channels": channels}, mode="train")
    theirs.cache = "ram"
    theirs.transforms = theirs.build_transforms(hyp)
    ours = SizedImages([list_file], NAMES, channels, (96, 96), hyp)
    for index in range(len(ours)):
        items = []
        for dataset in (theirs, ours):
            _seed(index)
            items.append(dataset[index])
        assert items[0]["img"].shape == (channels, 96, 96)
        for key in ("img", "cls", "bboxes"):
            assert torch.equal(items[0][key], items[1][key]), key


def _marked_set(folder: Path, shapes: list[tuple[int, int]], channels: int) -> Path:
    """A set of black images, each with one white rectangle that its label describes."""
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        (folder / f"images/{split}").mkdir(parents=True)
        (folder / f"labels/{split}").mkdir(parents=True)
        for number, (height, width) in enumerate(shapes):
            x, y = (int(generator.integers(side // 5, side // 2)) for side in (width, height))
            w, h = (int(generator.integers(side // 4, side // 2)) for side in (width, height))
            image = np.zeros((height, width, channels), np.uint8)
            image[y : y + h, x : x + w] = 255
            path = folder / f"images/{split}/{number}.tiff"
            if channels in (1, 3):
                cv2.imwrite(str(path), image)
            else:
                cv2.imwritemulti(str(path), [np.ascontiguousarray(image[..., band]) for band in range(channels)])
            row = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
            (folder / f"labels/{split}/{number}.txt").write_text("0 " + " ".join(f"{value:.6f}" for value in row))
    yaml = folder / "data.yaml"
    yaml.write_text(f"train: images/train\nval: images/val\nnames: [mark]\nchannels: {channels}\n")
    return yaml


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("mosaic", [0.0, 1.0])
@pytest.mark.parametrize("size", [(64, 128), (160, 96), (96, 96)], ids=str)
def test_boxes_lie_where_the_objects_are(tmp_path: Path, size: NetworkSize, mosaic: float, channels: int) -> None:
    shapes = [(90, 160), (160, 90), (120, 120), (50, 333), (480, 640), (30, 40)]
    yaml = _marked_set(tmp_path / "set", shapes, channels)
    dataset = open_dataset(DataSection(source="yaml", path=str(yaml)))
    assert dataset.channels == channels
    settings = TrainSection(batch=4, mosaic=mosaic, hsv_h=0, hsv_s=0, hsv_v=0, scale=0.3)
    batches = TrainingBatches(ultralytics_yaml(dataset, tmp_path / "view"), ("mark",), settings, size, channels)
    boxes = 0
    for batch in batches.epoch(1):
        assert batch["img"].shape[1:] == (channels, *size) and batch["img"].dtype == torch.uint8
        for index, image in enumerate(batch["img"]):
            white = image.numpy().min(0) > 140  # (C, H, W) -> (H, W); the border is 114
            covered = np.zeros(size, bool)
            for x, y, w, h in batch["bboxes"][batch["batch_idx"] == index].numpy() * np.tile(size[::-1], 2):
                left, top, right, bottom = x - w / 2, y - h / 2, x + w / 2, y + h / 2
                assert left >= -0.5 and top >= -0.5 and right <= size[1] + 0.5 and bottom <= size[0] + 0.5
                inside = white[round(top) + 2 : round(bottom) - 2, round(left) + 2 : round(right) - 2]
                assert inside.all(), "all of the box is the object"
                covered[max(round(top) - 2, 0) : round(bottom) + 2, max(round(left) - 2, 0) : round(right) + 2] = True
                boxes += 1
            if not mosaic:  # a mosaic drops the boxes of objects of which it shows little
                assert not (white & ~covered).any(), "all of the object is in the box"
    assert boxes >= (len(shapes) if not mosaic else 2)


def test_an_image_is_as_large_as_fits(tmp_path: Path) -> None:
    yaml = _marked_set(tmp_path / "set", [(90, 160), (160, 90), (1000, 10), (64, 128)], 3)
    view = ultralytics_yaml(open_dataset(DataSection(source="yaml", path=str(yaml))), tmp_path / "view")
    images = SizedImages([str(view.with_name("train.txt"))], MARKED, 3, (64, 128), hyperparameters(TrainSection(), 128))
    assert [images.load_image(index)[2] for index in range(4)] == [(64, 114), (64, 36), (64, 1), (64, 128)]
