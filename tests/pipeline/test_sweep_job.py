"""A run of a sweep as a process (tests/played_run.py): how it ends, is ended, and waits for its folder."""

from __future__ import annotations

import fcntl
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import END_S

from edgegd.errors import NaNLossError, RunFolderBusyError, UnexpectedError
from edgegd.pipeline.sweep import job as jobs
from edgegd.pipeline.sweep.job import Job, JobProcess, Outcome

PLAYED = (sys.executable, "-S", str(Path(__file__).parents[1] / "played_run.py"))


@pytest.fixture
def started(tmp_path: Path) -> Callable[..., JobProcess]:
    def start(rate: str = "1e-4", command: tuple[str, ...] = PLAYED) -> JobProcess:
        run_dir = tmp_path / "run"
        arguments = ("run", "my.yaml", "--set", f"train.lr0={rate}", "--run-dir", str(run_dir))
        return JobProcess(Job("trial 1", arguments, run_dir, tmp_path / "1.json", tmp_path, command))

    return start


def outcome_of(process: JobProcess) -> Outcome:
    end = time.monotonic() + END_S
    while (outcome := process.outcome()) is None:
        assert time.monotonic() < end
        time.sleep(0.02)
    return outcome


def test_a_run_that_succeeds_and_one_that_fails(started: Callable[..., JobProcess]) -> None:
    outcome = outcome_of(started())
    assert (outcome.code, outcome.error) == (0, None)
    failed = outcome_of(started("0.6"))
    assert failed.code == NaNLossError.exit_code and isinstance(failed.error, NaNLossError)
    assert failed.error.message() == "The rate 0.6 is too high."


def test_a_run_that_leaves_no_word(started: Callable[..., JobProcess]) -> None:
    outcome = outcome_of(started(command=("/bin/sh", "-c", "echo last words >&2; exit 3", "sh")))
    assert isinstance(outcome.error, UnexpectedError) and "status 3" in outcome.error.found
    assert "last words" in outcome.error.found


def test_a_run_waits_for_a_folder_that_is_let_go(started: Callable[..., JobProcess], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with (tmp_path / "run/.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        process = started()
        while process._process.poll() is None:
            time.sleep(0.02)
        assert process.outcome() is None
    assert outcome_of(process).code == 0


def test_a_folder_that_is_never_let_go(
    started: Callable[..., JobProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_BUSY_S", 0.0)
    (tmp_path / "run").mkdir()
    with (tmp_path / "run/.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert outcome_of(started()).code == RunFolderBusyError.exit_code


def test_a_run_that_hears_nothing_is_killed(
    started: Callable[..., JobProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_STOP_S", 0.2)
    process = started(command=("/bin/sh", "-c", "exec sleep 300", "sh"))
    process.stop()
    assert outcome_of(process).code == -9
