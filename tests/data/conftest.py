"""A small data set on disk: four images with a box each, two for training and two for validation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

WriteImage = Callable[..., None]


@pytest.fixture
def write_image() -> WriteImage:
    """A function that writes a random image of (height, width) pixels at a path, whose folders it makes."""

    def write(path: Path, seed: int = 0, size: tuple[int, int] = (48, 64)) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
        assert cv2.imwrite(str(path), pixels)

    return write


@pytest.fixture
def data_yaml(tmp_path: Path, write_image: WriteImage) -> Path:
    """The YAML file of the small data set."""
    root = tmp_path / "set"
    for split in ("train", "val"):
        for index in range(2):
            write_image(root / f"images/{split}/{index}.jpg", seed=index)
            label = root / f"labels/{split}/{index}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(f"{index} 0.5 0.5 0.25 0.25\n")
    file = root / "data.yaml"
    file.write_text("train: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n")
    return file
