"""A descent killed at random steps goes on bit for bit. Oracle: the uninterrupted one, in a process of its own."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from descent_listener import scores_of
from step_rows import untimed_rows

from edgegd.data.dataset import open_dataset
from edgegd.data.view import ultralytics_yaml
from edgegd.descent.checkpoint import CheckpointFile
from edgegd.descent.fine_tune import fine_tune
from edgegd.descent.image_losses import ImageLossRecord
from edgegd.descent.listener import Storage
from edgegd.descent.path import PathRecord
from edgegd.descent.random_state import seed_everything
from edgegd.detectors.batches import TrainingBatches
from edgegd.detectors.student import FloatStudent, Student
from edgegd.quant.attach import QuantizedModel
from edgegd.recipe.schema import DataSection
from edgegd.recipe.training import Distillation, TrainSection

LIMIT_S = 300.0  # for the end of a process that trains for seconds
STEPS = 8  # two epochs of eight images, two a step
LAST_KILL = 5  # of these steps: a fast machine must not reach the end before it is killed
BASE = TrainSection(epochs=2, batch=2, lr0=1e-3, freeze_ranges_epochs=1, ema_decay=0.9)
CASES = {
    "every step, workers": (dataclasses.replace(BASE, workers=2, checkpoint_minutes=0), False),
    "by time, everything on": (
        dataclasses.replace(
            BASE,
            checkpoint_minutes=0.005,
            optimizer="MuSGD",
            oscillation="freeze",
            mosaic=0.5,
            distill=Distillation(head=0.5, neck=0.5),
        ),
        True,
    ),
    "float, BatchNorm live, other activations": (
        dataclasses.replace(BASE, checkpoint_minutes=0, distill=Distillation(head=0.5, neck=0.5)),
        False,
    ),
}


def descend(student: Student, teacher: Any, view: Path, settings: TrainSection, folder: Path) -> None:
    """The whole descent, or the rest of it, in `folder`; mAP is a number that depends on all that is averaged."""
    seed_everything(settings.seed)
    batches = TrainingBatches(view, ("pedestrian", "car", "traffic sign"), settings, 64)
    path, images = PathRecord(), ImageLossRecord(batches.files)
    file = CheckpointFile(folder / "checkpoint.safetensors", {"settings": dataclasses.asdict(settings)})
    resume, changes = file.read()
    assert not changes

    def evaluate() -> float:
        return float(sum(value.detach().double().abs().sum() for value in student.state_dict().values())) % 1

    descent = fine_tune(
        student,
        batches,
        settings,
        scores_of(
            evaluate, lambda epoch: safetensors.torch.save_file(student.state_dict(), folder / "best.safetensors")
        ),
        teacher=teacher,
        storage=Storage(file, resume, folder / "steps.jsonl", path, images),
    )
    safetensors.torch.save_file(path.tensors(), folder / "path.safetensors")
    safetensors.torch.save_file(images.tensors(), folder / "images.safetensors")
    (folder / "descent.json").write_text(json.dumps(dataclasses.asdict(descent)))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_descent_killed_at_random_steps_is_the_uninterrupted_one(
    calibrated: Callable[..., QuantizedModel],
    swapped: Callable[[], FloatStudent],
    tiny_set: Path,
    tmp_path: Path,
    case: str,
) -> None:
    settings, learned = CASES[case]
    view = ultralytics_yaml(open_dataset(DataSection(source="streets", path=str(tiny_set))), tmp_path / "view")
    fork = multiprocessing.get_context("fork")
    student: Student = swapped() if case.startswith("float") else calibrated("small-end2end", True, learned)
    teacher = calibrated("small-end2end", True).model if settings.distill.head else None

    def start(folder: Path) -> Any:
        folder.mkdir(exist_ok=True)
        process = fork.Process(target=descend, args=(student, teacher, view, settings, folder))
        process.start()
        return process

    reference, folder, kills, steps = tmp_path / "reference", tmp_path / "killed", 0, random.Random(case)
    whole = start(reference)
    whole.join(LIMIT_S)
    assert whole.exitcode == 0
    log, at = folder / "steps.jsonl", 0

    def steps_done() -> int:
        return log.read_bytes().count(b"\n") if log.exists() else 0

    while kills < 3:
        at = min(max(at + 1, steps.randrange(STEPS)), LAST_KILL)
        process = start(folder)
        while process.is_alive() and steps_done() < at:
            time.sleep(0.002)
        end = time.monotonic() + steps.random() * 0.2
        while time.monotonic() < end and steps_done() < LAST_KILL:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.join(LIMIT_S)
        assert process.exitcode == -signal.SIGKILL
        kills += 1
    last = start(folder)
    last.join(LIMIT_S)
    assert last.exitcode == 0
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert untimed_rows(log) == untimed_rows(reference / "steps.jsonl")
    assert (folder / "descent.json").read_text() == (reference / "descent.json").read_text()
    for name in ("best.safetensors", "path.safetensors", "images.safetensors"):
        ours, theirs = (safetensors.torch.load_file(path / name) for path in (folder, reference))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(value.nan_to_num(-1), theirs[name].nan_to_num(-1)) for name, value in ours.items())
    seen = ~theirs["losses"].isnan()  # mosaic made the others
    assert theirs["epochs"].tolist() == [1, 2] and seen.any() and bool(seen.all()) == (settings.mosaic == 0)
