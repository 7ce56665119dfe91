"""A training on labelled and unlabelled images. Oracle: the files themselves, and the run without unlabelled ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgegd.data.dataset import open_dataset
from edgegd.data.view import ultralytics_yaml
from edgegd.detectors.batches import TrainingBatches
from edgegd.recipe.schema import DataSection
from edgegd.recipe.training import TrainSection

NAMES = ("pedestrian", "car", "traffic sign")


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    """Five images of noise."""
    folder = tmp_path / "camera"
    folder.mkdir()
    for index in range(5):
        pixels = np.random.default_rng(index).integers(0, 255, (48, 64, 3), dtype=np.uint8)
        assert cv2.imwrite(str(folder / f"{index}.png"), pixels)
    return folder


def test_batches_say_which_images_have_labels(tiny_set: Path, camera: Path, tmp_path: Path) -> None:
    section = DataSection(source="streets", path=str(tiny_set), unlabelled_images=str(camera))
    view = ultralytics_yaml(open_dataset(section), tmp_path / "view")
    settings = TrainSection(batch=4)
    batches = TrainingBatches(view, NAMES, settings, 64, unlabelled=True)
    assert len(batches) == 4 and len(batches.loaded) == 13
    seen = [
        pair for batch in batches.epoch(1) for pair in zip(batch["im_file"], batch["labelled"].tolist(), strict=True)
    ]
    assert len(dict(seen)) == 13 and sum(labelled for _, labelled in seen) == 8
    assert all(labelled != ("unlabelled-" in file) for file, labelled in seen)
    for batch in batches.epoch(1):
        assert batch["labelled"][batch["batch_idx"].long()].all()  # no box belongs to an unlabelled image
    without = TrainingBatches(view, NAMES, settings, 64)
    assert len(without.loaded) == 8 and all("labelled" not in batch for batch in without.epoch(1))


@pytest.mark.parametrize("labels", ["true", "false"])
def test_a_run_learns_from_them_without_labels(
    tiny_set: Path, tiny_checkpoint: Path, camera: Path, tmp_path: Path, edgegd_command: Callable[..., Any], labels: str
) -> None:
    run = tmp_path / "run"
    command = (
        "run",
        "streets/yolo26n",
        "--run-dir",
        run,
        "--until",
        "qat",
        "--set",
        f"model.weights={tiny_checkpoint}",
        "--set",
        f"data.path={tiny_set}",
        "--set",
        "model.imgsz=64",
        "--set",
        f"data.unlabelled_images={camera}",
        "--set",
        "train.epochs=1",
        "--set",
        "train.batch=4",
        "--set",
        "train.distill.head=1",
        "--set",
        f"train.distill.labels={labels}",
        "--set",
        "target.profile=x86-vnni",
        "--set",
        "quant.calibration_images=13",
        "--set",
        "data.train_images=0",
        "--set",
        "data.val_images=0",
    )
    made = edgegd_command(*command)
    assert made.code == 0, made.err
    data = json.loads((run / "data.json").read_text())
    assert len(data["unlabelled_images"]) == data["check"]["unlabelled_images"] == 5
    calibrated = json.loads((run / "calibration.json").read_text())["images"]
    assert sum(str(camera) in image for image in calibrated) == 5
    assert len((run / "descent.jsonl").read_text().splitlines()) == 4  # 13 images, 4 a step
    parts = json.loads((run / "descent.json").read_text())["epochs"][0]["parts"]
    assert parts["distill_head"] > 0 and (len(parts) > 1) == (labels == "true")
    (camera / "1.png").write_bytes((tiny_set / "images/val").iterdir().__next__().read_bytes())
    again = edgegd_command(*command)
    assert again.code == 21 and "an image on which accuracy is measured" in again.err, again.err
