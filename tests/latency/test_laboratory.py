"""Launches sampled into a file and read back. Oracle: workers that play known durations (played_target)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from played_target import PlayedTarget

from edgegd.errors import MeasurementFileError, WorkerError
from edgegd.latency.gate.sampling import sample
from edgegd.latency.measuring.record import UNSTABLE, Design, Measurement
from edgegd.latency.measuring.recording import load_measurement

DESIGN = Design(launches=4, quads=3, block_s=0.1, warmup_s=1, threads=1, spinning=False, seed=7)


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    paths = {"baseline": tmp_path / "old.onnx", "candidate": tmp_path / "new.onnx"}
    for name, path in paths.items():
        path.write_text(name)
    return paths


def play(model: str, launch: int) -> list[int]:
    """The new model is slower by 1 % in launch 0, 2 % in launch 1 and so on, on a machine that gets slower."""
    factor = 1 + 0.01 * (launch + 1) if model == "new" else 1.0
    return [round(10_000_000 * (1 + launch) * factor)] * 5


def sampled(models: dict[str, Path], target: PlayedTarget, path: Path, **options: Any) -> Measurement:
    measurement = sample(models, DESIGN, target, path, **options)
    assert load_measurement(path) == measurement, "what is stored is what was measured"
    return measurement


def test_every_launch_gives_one_ratio(models: dict[str, Path], tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    measurement = sampled(
        models, PlayedTarget(play), tmp_path / "raw.jsonl", progress=lambda done, total: seen.append((done, total))
    )
    assert measurement.complete and len(measurement.blocks) == 4 * 3 * 4
    assert measurement.launch_ratios("candidate") == pytest.approx(np.log([1.01, 1.02, 1.03, 1.04]), abs=1e-6)
    assert np.all(measurement.launch_ratios("baseline") == 0)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    places = {tuple(block.model for block in quad) for quad in measurement.quads().values()}
    assert places == {
        ("baseline", "candidate", "candidate", "baseline"),
        ("candidate", "baseline", "baseline", "candidate"),
    }, "ABBA and BAAB both occur"


def test_it_ends_when_there_is_enough(models: dict[str, Path], tmp_path: Path) -> None:
    measurement = sampled(
        models,
        PlayedTarget(play),
        tmp_path / "raw.jsonl",
        enough=lambda m: "decided" if len(m.launch_ratios("candidate")) == 2 else "",
    )
    assert measurement.complete and len(measurement.launch_ratios("candidate")) == 2
    assert json.loads((tmp_path / "raw.jsonl").read_text().splitlines()[-1])["reason"] == "decided"


def test_an_unstable_or_throttled_launch_is_replaced_by_another(models: dict[str, Path], tmp_path: Path) -> None:
    measurement = sampled(models, PlayedTarget(play, unstable=(1,), throttled=(2,)), tmp_path / "raw.jsonl")
    assert list(measurement.log_ratios("candidate")) == [0, 3, 4, 5]
    assert measurement.discarded() == {(1, quad): (UNSTABLE,) for quad in range(3)} | {
        (2, quad): ("throttled: cgroup",) for quad in range(3)
    }
    assert measurement.planned_quads() == 18


def test_a_device_that_never_settles_is_given_up(models: dict[str, Path], tmp_path: Path) -> None:
    target = PlayedTarget(play, unstable=tuple(range(100)))
    measurement = sampled(models, target, tmp_path / "raw.jsonl")
    assert measurement.blocks == () and target.started == 2 * (math.ceil(4 / 0.8) + 1)


def test_what_was_measured_before_an_error_is_kept_and_marked_partial(models: dict[str, Path], tmp_path: Path) -> None:
    def dying(model: str, launch: int) -> list[int]:
        if launch == 2:
            raise WorkerError("The latency worker died.")
        return play(model, launch)

    path = tmp_path / "raw.jsonl"
    with pytest.raises(WorkerError, match="died"):
        sample(models, DESIGN, PlayedTarget(dying), path)
    partial = load_measurement(path)
    assert not partial.complete and list(partial.log_ratios("candidate")) == [0, 1]
    assert "died" in json.loads(path.read_text().splitlines()[-1])["reason"]


@pytest.mark.parametrize("wrong", [float("nan"), -1, 0, 1.5, "12"])
def test_samples_that_are_no_durations_are_refused(models: dict[str, Path], tmp_path: Path, wrong: Any) -> None:
    target = PlayedTarget(lambda model, launch: [10, wrong, 10])
    with pytest.raises(WorkerError, match="no durations"):
        sample(models, DESIGN, target, tmp_path / "raw.jsonl")
    assert not load_measurement(tmp_path / "raw.jsonl").complete


def test_a_file_cut_off_anywhere_in_its_last_line_is_partial(models: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "raw.jsonl"
    whole = sampled(models, PlayedTarget(play), path)
    text = path.read_text()
    path.write_text(text[:-20])
    partial = load_measurement(path)
    assert not partial.complete and partial.blocks == whole.blocks
    path.write_text("\n".join(text.splitlines()[:-1])[:-9])
    assert load_measurement(path).blocks == whole.blocks[:-1]


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda text: "", "IndexError"),
        (lambda text: text.replace('"schema": 1', '"schema": 2'), "schema 2"),
        (lambda text: text.replace('"first_ns"', '"premier_ns"', 1), "premier_ns"),
        (lambda text: text.replace('"first_ns": 100000000', '"first_ns": NaN', 1), "NaN"),
        (lambda text: text.replace("{", "<", 5), "line 1"),
        (lambda text: text + '{"kind": "verdict"}\n', "verdict"),
    ],
    ids=["empty", "schema", "key", "nan", "no json", "unknown line"],
)
def test_a_damaged_file_is_refused(models: dict[str, Path], tmp_path: Path, damage: Any, found: str) -> None:
    path = tmp_path / "raw.jsonl"
    sampled(models, PlayedTarget(play), path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(MeasurementFileError, match=found):
        load_measurement(path)


def test_an_existing_measurement_is_not_overwritten(models: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "raw.jsonl"
    path.write_text("precious")
    with pytest.raises(FileExistsError):
        sample(models, DESIGN, PlayedTarget(play), path)
    assert path.read_text() == "precious"
