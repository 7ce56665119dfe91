"""Diagnosing run folders in every state, by the command. Oracle: lines made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from descent_rows import healthy

from edgegd.pipeline.run_folder import RunFolder
from edgegd.recipe.schema import DataSection, Recipe, TargetSection
from edgegd.recipe.training import TrainSection

Command = Callable[..., Any]
STEPS = 120


def make_folder(path: Path, rows: list[dict[str, Any]] | None, *, ended: bool, unrecorded: str = "") -> Path:
    """A folder of three epochs of 40 steps."""
    train = TrainSection(epochs=3, warmup_epochs=0.0)
    target = TargetSection(profile="x86-vnni")
    folder = RunFolder.create(path, Recipe(data=DataSection(path="set.yaml"), train=train, target=target), "mine")
    folder.write_json("data.json", {"train_images": [f"{n}.jpg" for n in range(640)]})
    if rows is not None:
        (path / "descent.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    if ended:
        epochs = [{"epoch": n, "loss": 2.0, "map50_95": 0.4, "oscillation": {}} for n in (1, 2, 3)]
        folder.write_json("descent.json", {"epochs": epochs, "start_map50_95": 0.39, "unrecorded": unrecorded})
    return path


def diagnosed(command: Command, folder: Path) -> dict[str, Any]:
    """The only descent of what `--json` prints."""
    outcome = command("descent", "diagnose", folder, "--json")
    assert outcome.code == 0, outcome.err
    (descent,) = json.loads(outcome.out)["descents"]
    return dict(descent)


def test_a_finished_run(edgegd_command: Command, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", healthy(STEPS), ended=True)
    descent = diagnosed(edgegd_command, folder)
    assert [finding["rule"] for finding in descent["findings"]] == ["converged"]
    assert (descent["stage"], descent["steps"], descent["planned"], descent["ended"]) == ("qat", STEPS, STEPS, True)
    out = edgegd_command("descent", "diagnose", folder).out
    assert out.startswith("QAT: 120 of 120 steps recorded, ended.\ngood: converged\n  The descent converged: ")
    for part in ("  Change: Nothing.", "  Evidence: loss_before", "  Threshold: over the last half"):
        assert part in out


def test_a_running_descent_with_half_a_line(edgegd_command: Command, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", [row | {"clipped": True} for row in healthy(50)], ended=False)
    with (folder / "descent.jsonl").open("a") as file:
        file.write('{"step": 51, "epoch": 2, "lo')
    descent = diagnosed(edgegd_command, folder)
    assert (descent["steps"], descent["ended"]) == (50, False)
    assert [finding["rule"] for finding in descent["findings"]] == ["clipped"]
    assert "50 of 120 steps recorded, not ended" in edgegd_command("descent", "diagnose", folder).out


def test_a_descent_that_ended_with_a_loss_that_is_not_finite(edgegd_command: Command, tmp_path: Path) -> None:
    rows = [*healthy(10), {"step": 11, "epoch": 1, "loss": None, "lr": {"weights": 1e-4}}]
    descent = diagnosed(edgegd_command, make_folder(tmp_path / "run", rows, ended=False))
    (finding,) = descent["findings"]
    assert (finding["rule"], finding["kind"], finding["evidence"]["step"]) == ("diverged", "problem", 11)
    assert "train.lr0" in finding["change"]
    at_once = make_folder(tmp_path / "at once", [rows[-1] | {"step": 1}], ended=False)
    (finding,) = diagnosed(edgegd_command, at_once)["findings"]
    assert "model.weights" in finding["change"] and "train.lr0" not in finding["change"]


def test_a_record_beside_a_checkpoint_is_that_of_an_earlier_training(edgegd_command: Command, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", healthy(50), ended=True)
    (folder / "qat-checkpoint.safetensors").write_bytes(b"half")  # damaged: then nothing is known of mAPs
    descent = diagnosed(edgegd_command, folder)
    assert not descent["ended"] and descent["findings"] == []


def test_epochs_of_a_checkpoint_are_read(edgegd_command: Command, tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.numpy").save_file
    folder = make_folder(tmp_path / "run", healthy(STEPS), ended=False)
    maps = [0.4, 0.38, 0.36, 0.34, 0.3]
    epochs = [{"epoch": n, "loss": 2.0 - 0.2 * n, "map50_95": value} for n, value in enumerate(maps, 1)]
    content = {"record": {"epochs": epochs, "start_map50_95": 0.39}}
    save_file({}, folder / "qat-checkpoint.safetensors", {"edgegd.descent": json.dumps(content)})
    (finding,) = diagnosed(edgegd_command, folder)["findings"]
    assert finding["rule"] == "overfitting" and finding["evidence"]["epoch"] == 1


def test_lines_that_a_full_disk_has_cut_off(edgegd_command: Command, tmp_path: Path) -> None:
    why = "descent.jsonl ends before step 61: No space left on device"
    folder = make_folder(tmp_path / "run", healthy(STEPS)[:60], ended=True, unrecorded=why)
    descent = diagnosed(edgegd_command, folder)
    assert descent["unrecorded"] == why and descent["findings"] == []  # nothing is said of an end that nobody saw
    assert why in edgegd_command("descent", "diagnose", folder).out


def test_lines_of_before_there_was_telemetry(edgegd_command: Command, tmp_path: Path) -> None:
    rows = [{key: row[key] for key in ("step", "epoch", "loss")} | {"lr": row["lr"]} for row in healthy(STEPS)]
    folder = make_folder(tmp_path / "run", rows, ended=True)
    assert not diagnosed(edgegd_command, folder)["telemetry"]
    assert edgegd_command("descent", "diagnose", folder).out.count("earlier version and hold losses alone") == 1


@pytest.mark.parametrize("rows", [[], None], ids=["no step yet", "no file"])
def test_nothing_to_read(edgegd_command: Command, tmp_path: Path, rows: Any) -> None:
    outcome = edgegd_command("descent", "diagnose", make_folder(tmp_path / "run", rows, ended=False))
    if rows is None:
        assert outcome.code == 53 and "descent.jsonl does not exist yet" in outcome.err and not outcome.out
    else:
        assert outcome.code == 0 and "No step has been taken yet" in outcome.out


@pytest.mark.parametrize(
    "lines",
    ["[1]\n", "{\n", '{"loss": "much"}\n', '{"loss": 1.0}\n' * 40, "\xff\n"],
    ids=["list", "half", "word", "no lr", "bytes"],
)
def test_lines_that_no_stage_writes(edgegd_command: Command, tmp_path: Path, lines: str) -> None:
    folder = make_folder(tmp_path / "run", [], ended=True)
    (folder / "descent.jsonl").write_bytes(lines.encode("latin-1"))
    outcome = edgegd_command("descent", "diagnose", folder)
    assert outcome.code == 53 and "descent.jsonl" in outcome.err and not outcome.out


def test_no_run_folder(edgegd_command: Command, tmp_path: Path) -> None:
    assert edgegd_command("descent", "diagnose", tmp_path).code == 50


def test_both_descents_of_a_run_with_swapped_activations(edgegd_command: Command, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", healthy(STEPS), ended=True)
    rows = [row | {"clipped": True} for row in healthy(60)]
    (folder / "adaptation.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    outcome = edgegd_command("descent", "diagnose", folder, "--json")
    adaptation, qat = json.loads(outcome.out)["descents"]
    assert (adaptation["stage"], adaptation["planned"], qat["stage"]) == ("adapt", 20 * 40, "qat")
    assert [finding["rule"] for finding in adaptation["findings"]] == ["clipped"]
    out = edgegd_command("descent", "diagnose", folder).out
    assert out.index("The adaptation: 60 of 800") < out.index("QAT: 120 of 120")
