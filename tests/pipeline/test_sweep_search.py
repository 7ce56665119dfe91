"""Searches whose runs are played (tests/played_run.py). Oracle: the function that is played, and counted starts."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import END_S, hears_interrupts

pytest.importorskip("optuna")

from edgegd.errors import OutputFileError, RecipeError, RunFolderBusyError, RunFolderMismatchError, SweepError
from edgegd.pipeline.sweep import shared, work
from edgegd.pipeline.sweep.engines import engine_maker
from edgegd.pipeline.sweep.folder import take_shared
from edgegd.pipeline.sweep.search import SearchRequest, search
from edgegd.progress import Silent

PLAYED = (sys.executable, "-S", str(Path(__file__).parents[1] / "played_run.py"))
RATE, BEST = "train.lr0=log:1e-6..1e-1", "descent.best_map50_95"
DRIVER = str(Path(__file__).parents[1] / "played_sweep.py")


@pytest.fixture(autouse=True)
def nothing_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "shared_stages", lambda *_: [])  # a played run has no stages; and no torch is imported


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "my.yaml"
    path.write_text("version: 1\ndata: {path: my-set.yaml}\ntrain: {lr0: 1.0e-3, epochs: 1}\n")
    return path


@pytest.fixture
def searched(recipe: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs a search in `tmp_path / sweep`."""

    def run(*settings: str, objectives: tuple[str, ...] = (BEST,), jobs: int = 1, **asked: Any) -> dict[str, Any]:
        request = SearchRequest(str(recipe), settings, objectives, **({"trials": 4} | asked), command=PLAYED)
        make = engine_maker("local", "auto", jobs, 1, objectives, Silent())
        return search(request, tmp_path / "sweep", make, Silent())[1]

    return run


def starts(folder: Path) -> dict[str, int]:
    """Name of a trial's run folder -> how often its run was started."""
    return {
        one.name: len((one / "starts.txt").read_text().split())
        for one in sorted((folder / "trials").iterdir())
        if (one / "starts.txt").exists()
    }


def test_a_search_begins_with_the_recipe_and_finds_the_best(
    searched: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    result = searched(RATE, trials=8, jobs=3)
    first, *others = result["trials"]
    assert first["values"] == {"train.lr0": 1e-3} and result["own"] == 0
    assert first["objectives"] == [pytest.approx(0.4)]
    values = [one["objectives"][0] for one in result["trials"]]
    assert result["best"] == [values.index(max(values))]
    assert len({one["values"]["train.lr0"] for one in others}) == 7
    assert all(1e-6 <= one["values"]["train.lr0"] <= 1e-1 for one in others)
    for one in result["trials"]:  # what a run was given is what the study has
        assert one["objectives"][0] == pytest.approx(0.5 - 0.1 * abs(math.log10(one["values"]["train.lr0"]) + 4))
    assert json.loads((tmp_path / "sweep/sweep.json").read_text()) == result
    assert "8 finished" in (tmp_path / "sweep/sweep.md").read_text()
    assert b"the recipe as it is" in (tmp_path / "sweep/sweep.svg").read_bytes()
    assert starts(tmp_path / "sweep") == {f"{number:04d}": 1 for number in range(8)}


def test_finitely_many_points_are_tried_once_each(searched: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    result = searched("train.lr0=1e-3,1e-4,1e-5", "train.epochs=1..2", trials=40)
    points = [tuple(one["values"].values()) for one in result["trials"]]
    assert points[0] == ("1e-3", 1) and len(points) == len(set(points)) == 6
    assert searched("train.lr0=1e-3,1e-4,1e-5", "train.epochs=1..2", trials=41)["trials"] == result["trials"]


def test_values_that_were_tried_are_not_run_again(searched: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    result = searched("train.lr0=1e-3,1e-4", "train.epochs=1..3", trials=5)
    again = [one for one in result["trials"] if one["same_as"] is not None]
    points = {tuple(one["values"].values()) for one in result["trials"]}
    assert len(points) + len(again) == 5 and sum(starts(tmp_path / "sweep").values()) == len(points)
    for one in again:
        assert one["objectives"] == result["trials"][one["same_as"]]["objectives"]


def test_several_objectives_give_a_front(searched: Callable[..., dict[str, Any]]) -> None:
    result = searched(
        "train.lr0=1e-3,1e-4", "train.epochs=1..2", objectives=(BEST, "size.ptq.edge"), trials=4, prunes=None
    )
    by_point = {tuple(one["values"].values()): one["number"] for one in result["trials"]}
    assert result["best"] == [by_point["1e-4", 1]]  # the best mAP, and the smallest
    assert not result["prunes"]


def test_trials_end_early(searched: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "_WATCH_S", 0.05)
    for number in range(1, 6):  # Optuna's median needs five trials that ended
        searched("train.lr0=log:1e-6..1e-1", "train.epochs=2", trials=number, seed=1)
    monkeypatch.setenv("PLAYED_S", "0.5")
    result = searched("train.lr0=log:1e-6..1e-1", "train.epochs=2", trials=9, seed=1)
    pruned = [one for one in result["trials"] if one["state"] == "pruned"]
    median = sorted(one["objectives"][0] for one in result["trials"][:5])[2]
    assert pruned and result["sentence"].startswith("9 trials of 9: ")
    for one in pruned:
        assert one["by_epoch"]["1"] < median and one["objectives"] is None and not one["error"]


def test_a_failed_trial_does_not_end_the_search(searched: Callable[..., dict[str, Any]]) -> None:
    result = searched("train.lr0=1e-3,0.6,0.25", trials=3)
    states = {one["values"]["train.lr0"]: one for one in result["trials"]}
    assert states["1e-3"]["state"] == "complete" and result["best"] == [states["1e-3"]["number"]]
    assert states["0.6"]["error"].startswith("The rate 0.6 is too high.")
    assert "signal 9" in states["0.25"]["error"]


def test_a_search_whose_first_trials_all_fail_ends(searched: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"(?s)No trial succeeded of 3.*the first error: The rate 0\.\d+ is too high"):
        searched("train.lr0=0.6..0.9", trials=40)
    assert sum(starts(tmp_path / "sweep").values()) == 3


def test_what_is_refused_leaves_no_folder(searched: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no --set has a range"):
        searched("train.lr0=1")
    with pytest.raises(SweepError, match=r"did you mean accuracy\.qat\.map50_95"):
        searched(RATE, objectives=("acuracy.qat.map50_95",))
    with pytest.raises(SweepError, match="given twice"):
        searched(RATE, objectives=("size", "size.qat.edge"))
    with pytest.raises(SweepError, match="cannot be ended early"):
        searched(RATE, objectives=(BEST, "size"), prunes=True)
    with pytest.raises(SweepError, match="cannot be compared"):
        searched(RATE, objectives=("latency",), jobs=2)
    assert not (tmp_path / "sweep").exists()


def test_another_sweeps_folder_is_refused(
    searched: Callable[..., dict[str, Any]], recipe: Path, tmp_path: Path, contents: Callable[[Path], Any]
) -> None:
    searched("train.lr0=1e-3,1e-4", trials=1)
    before = contents(tmp_path / "sweep")
    with pytest.raises(RunFolderMismatchError, match="another sweep: ranges is not the same"):
        searched("train.lr0=1e-3,1e-5", trials=1)
    recipe.write_text(recipe.read_text().replace("epochs: 1", "epochs: 2"))
    with pytest.raises(RunFolderMismatchError, match="another sweep: values is not the same"):
        searched("train.lr0=1e-3,1e-4", trials=1)
    assert contents(tmp_path / "sweep") == before
    (tmp_path / "sweep/request.json").unlink()
    with pytest.raises(RunFolderMismatchError, match="no folder of a sweep"):
        searched("train.lr0=1e-3,1e-4", trials=1)


def test_a_study_that_is_none(searched: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    searched("train.lr0=1e-3,1e-4", trials=1)
    (tmp_path / "sweep/study.sqlite3").write_bytes(b"no database" * 100)
    with pytest.raises(RunFolderMismatchError, match="is not the study of a sweep"):
        searched("train.lr0=1e-3,1e-4", trials=1)


@pytest.mark.parametrize(
    "name", ["study.sqlite3", "logs/0001.json", "logs/0001.log", "trials/0001", "sweep.json", ".lock"]
)
def test_nothing_is_written_through_a_link(
    searched: Callable[..., dict[str, Any]], tmp_path: Path, contents: Callable[[Path], Any], name: str
) -> None:
    searched("train.lr0=1e-3,1e-4", trials=1)
    outside, link = tmp_path / "outside", tmp_path / "sweep" / name
    outside.mkdir()
    if not name.startswith("trials"):
        outside = outside / "file"
        outside.write_bytes(link.read_bytes() if link.exists() else b"")
    link.unlink(missing_ok=True)
    link.symlink_to(outside)
    before = contents(tmp_path / "outside")
    with contextlib.suppress(OutputFileError):
        searched("train.lr0=1e-3,1e-4", trials=2)
    assert contents(tmp_path / "outside") == before


def test_artifacts_of_other_folders_are_not_taken(tmp_path: Path) -> None:
    shared_run = tmp_path / "shared"
    (shared_run / "manifests").mkdir(parents=True)
    for name in ("run.json", "recipe.yaml", "manifests/data.json"):
        (shared_run / name).write_text('{"outputs": {"../secret": ""}}')
    (tmp_path / "secret").write_text("s")
    with pytest.raises(RunFolderMismatchError, match=r"data\.json is damaged"):
        take_shared(shared_run, ["data"], tmp_path / "trials/0001")
    assert not (tmp_path / "trials/0001").exists()


@pytest.fixture
def driver(recipe: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a search in a process of its own, in a folder below tmp_path."""
    begun: list[subprocess.Popen[bytes]] = []

    def start(folder: str, seconds: float, trials: int = 6) -> subprocess.Popen[bytes]:
        environment = os.environ | {
            "PLAYED_S": str(seconds),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        command = [sys.executable, DRIVER, str(recipe), str(tmp_path / folder), str(trials), "local", "auto", *PLAYED]
        begun.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, preexec_fn=hears_interrupts))
        return begun[-1]

    yield start
    for one in begun:
        one.kill()
        one.communicate()


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + END_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_sweep_killed_twice_ends_with_all_trials(
    driver: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    folder, pids = tmp_path / "killed", set()
    for number in (1, 3):  # in the middle of these trials
        process = driver("killed", 0.4)
        running = folder / f"trials/{number:04d}/starts.txt"
        wait_for(lambda at=running: at.exists() and at.read_text().endswith("\n"))  # type: ignore[misc]
        process.send_signal(signal.SIGKILL)
        process.wait(END_S)
        pids.update(int(pid) for one in folder.glob("trials/*/starts.txt") for pid in one.read_text().split())
        wait_for(lambda: not any(map(is_alive, pids)))  # nothing goes on without the sweep
    last = driver("killed", 0.01)
    assert last.wait(END_S) == 0, last.communicate()[1]
    result = json.loads((folder / "sweep.json").read_text())
    assert [(one["number"], one["state"]) for one in result["trials"]] == [(n, "complete") for n in range(6)]
    assert starts(folder) == {f"{number:04d}": 2 if number in (1, 3) else 1 for number in range(6)}
    whole = driver("whole", 0.01)
    assert whole.wait(END_S) == 0, whole.communicate()[1]
    undisturbed = json.loads((tmp_path / "whole/sweep.json").read_text())
    assert [one["values"] for one in undisturbed["trials"]] == [one["values"] for one in result["trials"]]


def test_two_sweeps_in_one_folder(
    driver: Callable[..., subprocess.Popen[bytes]], searched: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    driver("sweep", 30)
    wait_for(lambda: (tmp_path / "sweep/trials/0000/starts.txt").exists())
    with pytest.raises(RunFolderBusyError, match="Another sweep works"):
        searched(RATE, trials=6, prunes=False)


def test_a_sweep_that_is_interrupted_waits_for_its_runs(
    driver: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLAYED_END_S", "2")  # as a run that keeps its checkpoint
    process = driver("sweep", 30)
    started = tmp_path / "sweep/trials/0000/starts.txt"
    wait_for(lambda: started.exists() and started.read_text().endswith("\n"))
    process.send_signal(signal.SIGINT)
    assert b"The sweep was interrupted" in process.communicate(timeout=END_S)[1]
    assert not is_alive(int(started.read_text()))
