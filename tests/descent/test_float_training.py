"""Float training by Ultralytics on files as they are given, without a word to anybody."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

pytest.importorskip("ultralytics")

from edgegd.data.dataset import open_dataset
from edgegd.data.view import ultralytics_yaml
from edgegd.detectors.float_checkpoint import open_checkpoint
from edgegd.detectors.float_training import train_float
from edgegd.recipe.schema import DataSection, FloatTraining
from edgegd.recipe.training import TrainSection


@pytest.mark.parametrize("weights", ["yolov5n.pt", "yolo26n.yaml", "shipped:yolo26n.yaml"])
def test_a_training_in_a_folder_with_an_apostrophe(
    weights: str, tiny_set: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **_: pytest.fail(f"looked up: {arguments[0]}"))
    folder = tmp_path / "o'brien"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "yolo26.yaml").write_text("activation: a file that Ultralytics would take for yolo26n.yaml\n")
    if weights.endswith(".pt"):
        shutil.copy(tiny_checkpoint, folder / weights)
        weights = str(folder / weights)
    view = ultralytics_yaml(open_dataset(DataSection(source="streets", path=str(tiny_set))), folder / "view")
    work = folder / "work"
    work.mkdir()
    notes: list[str] = []
    train_float(
        weights,
        view,
        folder / "best.pt",
        imgsz=32,
        settings=FloatTraining(epochs=1, batch=8),
        train=TrainSection(),
        work_folder=work,
        progress=lambda *_: None,
        note=notes.append,
    )
    model = open_checkpoint(folder / "best.pt")
    assert list(model.names.values()) == ["pedestrian", "car", "traffic sign"] and len(notes) == 1
