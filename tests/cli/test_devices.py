"""Training on several devices through the command line: killed, interrupted, refused. Oracle: one process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forked_ranks import free_port, launched
from processes import END_S, hears_interrupts

Command = Callable[..., Any]
START_S = 240.0


def _losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "descent.jsonl").read_text().splitlines()]


def _children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _start(folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "edgegd.cli.main", "qat", "--force", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        preexec_fn=hears_interrupts,
    )


def _wait_for_steps(process: subprocess.Popen[str], folder: Path, steps: int) -> None:
    end, log = time.monotonic() + START_S, folder / "descent.jsonl"
    while time.monotonic() < end and process.poll() is None:
        if log.exists() and log.read_bytes().count(b"\n") >= steps:
            return
        time.sleep(0.01)
    raise AssertionError(process.communicate(timeout=END_S)[1])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two processes on one CPU are refused")
def test_killed_and_interrupted_it_goes_on_in_one_process(run_copy: Path, edgegd_command: Command) -> None:
    """One of two processes is killed, then Ctrl-C comes; one process ends what two began."""
    recipe = run_copy / "recipe.yaml"
    expected = _losses(run_copy)
    text = recipe.read_text()
    assert "devices: 1" in text and len(expected) == 4
    (run_copy / "descent.jsonl").unlink()
    changed = text.replace("devices: 1", "devices: 2").replace("checkpoint_minutes: 5.0", "checkpoint_minutes: 0")
    recipe.write_text(changed)

    process = _start(run_copy, {})
    _wait_for_steps(process, run_copy, 1)
    pair = _children(process.pid)
    os.kill(pair[1], signal.SIGKILL)
    _, said = process.communicate(timeout=END_S)
    assert process.returncode == 73, said
    assert said.count("edgegd: ") == 1 and "Process 1 of the 2 that train together was killed by SIGKILL" in said
    assert "Traceback" not in said and not any(_is_alive(one) for one in pair)
    done = len(_losses(run_copy))
    assert 1 <= done < 4 and (run_copy / "qat-checkpoint.safetensors").exists()

    process = _start(run_copy, {})
    deadline = time.monotonic() + START_S
    while len(pair := _children(process.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=END_S)
    assert process.returncode == 130 and said.count("edgegd: ") == 1 and "Interrupted in stage qat" in said, said
    assert not any(_is_alive(one) for one in pair)

    recipe.write_text(text)
    outcome = edgegd_command("qat", "--force", run_copy)
    assert outcome.code == 0 and "going on after step" in outcome.err, outcome.err
    assert _losses(run_copy) == pytest.approx(expected, rel=0.05)
    assert not (run_copy / "qat-checkpoint.safetensors").exists()


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["train.devices=2", "train.batch=1"], "a batch has only 1 image"),
        (["train.devices=2", "train.batch=6", "train.accumulate=6"], "train.batch of at least 12"),
        (["train.devices=1024", "train.batch=2048"], "this machine has fewer CPUs"),
        (["train.devices=2", "train.device=cuda:0"], ""),
        (["train.devices=2", "train.device=mps"], ""),
    ],
    ids=["images", "parts", "processors", "one-gpu", "mps"],
)
def test_devices_that_are_not_there_are_refused_before_there_is_a_folder(
    overrides: list[str], said: str, tiny_recipe: Path, edgegd_command: Command, tmp_path: Path
) -> None:
    options = [part for override in overrides for part in ("--set", override)]
    outcome = edgegd_command("run", tiny_recipe, "--run-dir", tmp_path / "run", *options)
    assert outcome.code == 68 and said in outcome.err and outcome.err.count("edgegd: ") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("parts", [3, 8])
def test_parts_that_do_not_divide_a_batch_are_refused(
    parts: int, tiny_recipe: Path, edgegd_command: Command, tmp_path: Path
) -> None:
    outcome = edgegd_command("run", tiny_recipe, "--run-dir", tmp_path / "run", "--set", f"train.accumulate={parts}")
    assert outcome.code == 10 and f"expected a number that divides train.batch, 4, found {parts}" in outcome.err


@pytest.mark.parametrize("rank", [0, 1])
def test_torchrun_of_a_command_that_trains_on_one_device_is_refused_once(
    rank: int, edgegd_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in launched(rank, 2, free_port()).items():
        monkeypatch.setenv(name, value)
    outcome = edgegd_command("export", tmp_path)
    assert outcome.code == 68 and ("was started in 2 processes" in outcome.err) == (rank == 0)
    assert edgegd_command("qat", "--help").code == 0
