"""Checkpoints. Oracle: what was written; damaged, foreign and outdated files are refused in one message."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from descent_listener import scores_of
from safetensors.torch import load_file, save_file

from edgegd.descent.checkpoint import Checkpoint, CheckpointFile
from edgegd.descent.fine_tune import fine_tune
from edgegd.descent.listener import Storage
from edgegd.descent.random_state import capture_random_state, restore_random_state
from edgegd.errors import TrainingCheckpointError
from edgegd.recipe.training import TrainSection

IDENTITY = {"plan": "a" * 64, "train": {"epochs": 2, "distill": {"head": 0.0}}, "accuracy": {"conf": 0.001}}
TENSORS = {
    "student": {"model.w": torch.arange(3.0)},
    "average": {"0": torch.ones(2)},
    "best": {},
    "random": {"torch": torch.arange(5, dtype=torch.uint8)},
}
WHOLE = Checkpoint(TENSORS, {"step": 7, "loss": 0.1 + 0.2})


@pytest.fixture
def file(tmp_path: Path) -> CheckpointFile:
    made = CheckpointFile(tmp_path / "qat-checkpoint.safetensors", IDENTITY)
    made.write(WHOLE)
    return made


def test_what_is_written_is_read(file: CheckpointFile) -> None:
    read, changes = file.read()
    assert read is not None and changes == [] and read.record == WHOLE.record
    assert {
        group: {name: (t.dtype, t.tolist()) for name, t in members.items()} for group, members in read.tensors.items()
    } == {
        group: {name: (t.dtype, t.tolist()) for name, t in members.items()}
        for group, members in TENSORS.items()
        if members
    }
    assert [path.name for path in file.path.parent.iterdir()] == [file.path.name]
    assert CheckpointFile(file.path.with_name("none"), IDENTITY).read() == (None, [])


def test_every_changed_input_is_named(file: CheckpointFile) -> None:
    now = {"plan": "b" * 64, "train": {"epochs": 3, "distill": {"head": 0.5}}, "accuracy": {"conf": 0.001}}
    _, changes = CheckpointFile(file.path, now).read()
    assert changes == ["plan", "train.distill.head (was 0.0, is 0.5)", "train.epochs (was 2, is 3)"]
    aside = file.set_aside()
    assert aside.name == "qat-checkpoint-set-aside.safetensors" and aside.exists() and not file.path.exists()


def _another_version(path: Path) -> None:
    content = json.dumps({"schema": 99, "identity": {}, "record": {}})
    save_file(load_file(path), path, {"edgegd.descent": content})


def _nan(path: Path) -> None:
    from safetensors import safe_open

    with safe_open(path, "pt") as opened:
        metadata = opened.metadata()
    save_file({**load_file(path), "student/ranges.input.log_scale": torch.tensor(float("nan"))}, path, metadata)


SPOILED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "cannot be read"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-20]), "cannot be read"),
    "half": (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "cannot be read"),
    "text": (lambda path: path.write_text("no checkpoint"), "cannot be read"),
    "foreign": (lambda path: save_file({"w": torch.ones(2)}, path), "cannot be read"),
    "another version": (_another_version, "is of another version of edgegd"),
    "NaN": (_nan, "holds values that are not finite"),
}


@pytest.mark.parametrize("spoiled", SPOILED)
def test_a_bad_checkpoint_is_refused_and_left(file: CheckpointFile, spoiled: str) -> None:
    spoil, fragment = SPOILED[spoiled]
    spoil(file.path)
    before = file.path.read_bytes()
    with pytest.raises(TrainingCheckpointError, match=fragment) as caught:
        file.read()
    assert caught.value.exit_code == 65
    assert str(file.path) in str(caught.value) and "delete the file" in str(caught.value)
    assert file.path.read_bytes() == before


def test_a_checkpoint_of_another_model_does_not_fit(
    calibrated: Callable[..., Any], batches: Any, tmp_path: Path
) -> None:
    settings, file = TrainSection(epochs=1), CheckpointFile(tmp_path / "c.safetensors", {})
    fine_tune(calibrated(), batches, settings, scores_of(), storage=Storage(file))
    resume, _ = file.read()
    with pytest.raises(TrainingCheckpointError, match=r"c\.safetensors does not fit the model"):
        fine_tune(
            calibrated("small-end2end", True),
            batches,
            settings,
            scores_of(),
            storage=Storage(file, resume),
        )


def test_a_finished_descent_is_not_repeated(calibrated: Callable[..., Any], batches: Any, tmp_path: Path) -> None:
    settings, file = TrainSection(epochs=2, lr0=1e-3), CheckpointFile(tmp_path / "c.safetensors", {})
    first = fine_tune(calibrated(), batches, settings, scores_of((0.1, 0.3, 0.2)), storage=Storage(file))
    kept: list[int] = []
    resume, _ = file.read()
    again = fine_tune(calibrated(), batches, settings, scores_of((), kept.append), storage=Storage(file, resume))
    assert dataclasses.asdict(again) == dataclasses.asdict(first) and kept == [1] == [first.best_epoch]


def test_random_generators_go_on_as_they_were() -> None:
    def draw() -> tuple[Any, ...]:
        return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(()).item()

    draw()
    tensors, numbers = capture_random_state()
    expected = draw()
    draw()
    restore_random_state(tensors, json.loads(json.dumps(numbers)))
    assert draw() == expected
