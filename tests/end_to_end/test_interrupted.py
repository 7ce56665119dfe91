"""Ctrl-C and kill -9: the same command finishes the run, as if nothing had happened; oracle: an uninterrupted run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from step_rows import untimed_rows

pytest.importorskip("torch")
Start = Callable[[Path, Path], "subprocess.Popen[str]"]
KILLS = 10
MEASURED = ("latency", "latency_pairs", "latency_conditions")  # what differs between two runs of the same


def report_of(folder: Path) -> dict[str, Any]:
    report = json.loads((folder / "report.json").read_text())
    return {key: value for key, value in report.items() if key not in MEASURED}


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Waits; the exit code and the rest of stderr."""
    assert process.stderr is not None
    rest = process.stderr.read()
    return process.wait(), rest


@pytest.mark.slow
@pytest.mark.parametrize(("before", "stage"), [("ptq", "qat"), ("accuracy", "latency")])
def test_ctrl_c_is_code_130_and_the_same_command_goes_on(
    start: Start, tiny_recipe: Path, finished_run: Path, run_copy: Path, before: str, stage: str
) -> None:
    (run_copy / f"manifests/{stage}.json").unlink()
    process = start(tiny_recipe, run_copy)
    assert process.stderr is not None
    while not process.stderr.readline().startswith(f"{before}: "):
        assert process.poll() is None
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does: every process of the group gets it
    code, err = finish(process)
    assert code == 130 and "Traceback" not in err, err
    assert f"edgegd: Interrupted in stage {stage}.\n" in err and "run the same command again" in err
    code, err = finish(start(tiny_recipe, run_copy))
    assert code == 0 and f"{before}: unchanged, skipped\n" in err and f"{stage}: done\n" in err
    assert report_of(run_copy) == report_of(finished_run)


@pytest.mark.slow
def test_ten_kills_leave_the_report_of_an_uninterrupted_run(start: Start, tiny_recipe: Path, tmp_path: Path) -> None:
    """Kills come at seeded fractions of half the work; a run that completes is to be done again."""

    def duration_of_run() -> float:
        began = time.monotonic()
        code, err = finish(start(tiny_recipe, tmp_path / "reference"))
        assert code == 0, err
        return time.monotonic() - began

    whole_s, start_up_s = duration_of_run(), duration_of_run()
    folder, fractions, kills = tmp_path / "run", random.Random(0), 0
    while kills < KILLS:
        process = start(tiny_recipe, folder)
        time.sleep(start_up_s * 0.8 + fractions.random() * 0.5 * max(whole_s - start_up_s, 0))
        process.kill()
        code, err = finish(process)
        assert code in (-signal.SIGKILL, 0), err
        kills += code == -signal.SIGKILL
        if code == 0:
            for manifest in (folder / "manifests").iterdir():
                manifest.unlink()
    code, err = finish(start(tiny_recipe, folder))
    assert code == 0, err
    assert report_of(folder) == report_of(tmp_path / "reference")
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if "view" not in path.parts}
    reference = tmp_path / "reference"
    assert names == {str(path.relative_to(reference)) for path in reference.rglob("*") if "view" not in path.parts}


@pytest.fixture
def half_done(edgegd_command: Any, tiny_recipe: Path, run_copy: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A run interrupted in the third of four steps of QAT; the arguments that go on with it."""
    from edgegd.descent.training import Training

    real, calls = Training.take_step, []

    def interrupted(self: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, *arguments, **options)

    monkeypatch.setattr(Training, "take_step", interrupted)
    arguments = ["run", tiny_recipe, "--run-dir", run_copy, "--until", "qat", "--set", "train.checkpoint_minutes=0"]
    (run_copy / "manifests/qat.json").unlink()
    outcome = edgegd_command(*arguments)
    assert outcome.code == 130, outcome.err
    monkeypatch.undo()
    assert (run_copy / "descent.jsonl").read_text().count("\n") == 2
    return arguments


def test_an_interrupted_training_goes_on_where_it_was(
    edgegd_command: Any, half_done: list[Any], run_copy: Path, finished_run: Path
) -> None:
    outcome = edgegd_command(*half_done)
    assert outcome.code == 0 and "going on after step 2 of an interrupted training\n" in outcome.err
    for name in ("descent.json", "qat.safetensors"):
        assert (run_copy / name).read_bytes() == (finished_run / name).read_bytes()
    assert untimed_rows(run_copy / "descent.jsonl") == untimed_rows(finished_run / "descent.jsonl")
    assert not list(run_copy.glob("qat-checkpoint*")) and not list(run_copy.glob("qat-last-good*"))


def test_a_checkpoint_of_other_settings_is_set_aside_and_the_change_named(
    edgegd_command: Any, half_done: list[Any], run_copy: Path
) -> None:
    outcome = edgegd_command(*half_done, "--set", "train.lr0=2e-4", "--set", "train.workers=1")
    assert outcome.code == 0, outcome.err
    assert (
        "training starts anew, its checkpoint (kept as qat-checkpoint-set-aside.safetensors) is of other inputs: "
        "train.lr0 (was 0.0001, is 0.0002)\n"
    ) in outcome.err
    assert (run_copy / "qat-checkpoint-set-aside.safetensors").exists()
    assert (run_copy / "descent.jsonl").read_text().count("\n") == 4


def test_a_truncated_checkpoint_is_code_65_and_nothing_is_lost(
    edgegd_command: Any, half_done: list[Any], run_copy: Path, contents: Callable[[Path], Any]
) -> None:
    checkpoint = run_copy / "qat-checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])
    before = contents(run_copy)
    outcome = edgegd_command(*half_done)
    assert outcome.code == 65 and "Traceback" not in outcome.err
    assert f"The checkpoint {checkpoint} cannot be read." in outcome.err and "delete the file" in outcome.err
    after = contents(run_copy)
    assert {name: value for name, value in after.items() if name != ".lock"} == {
        name: value for name, value in before.items() if name != ".lock"
    }


@pytest.mark.slow
def test_a_full_disk_is_code_52_and_with_more_space_the_same_command_goes_on(
    start: Start, tiny_recipe: Path, finished_run: Path, tmp_path: Path
) -> None:
    disk, mount = tmp_path / "disk", shutil.which("mount")
    disk.mkdir()
    made = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=12m", "tmpfs", disk], capture_output=True)
    if not made or made.returncode:
        pytest.skip("this user may not mount a small file system")
    try:
        code, err = finish(start(tiny_recipe, disk / "run"))  # float.pt has 5 MB, ptq.safetensors 10 MB
        assert code == 52 and "edgegd: No space is left on the disk" in err and "Traceback" not in err
        assert (disk / "run/float.pt").read_bytes() == (finished_run / "float.pt").read_bytes()
        assert not (disk / "run/ptq.safetensors").exists() and not list((disk / "run").glob(".*.tmp"))
        subprocess.run([mount, "-o", "remount,size=200m", disk], check=True)
        code, err = finish(start(tiny_recipe, disk / "run"))
        assert code == 0 and "float: unchanged, skipped" in err, err
        assert report_of(disk / "run") == report_of(finished_run)
    finally:
        subprocess.run(["umount", disk], check=True)
