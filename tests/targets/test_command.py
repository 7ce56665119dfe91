"""Targets that are commands: a wrapper of this machine's Python stands for a container."""

from __future__ import annotations

import shlex
import sys
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from edgegd.device.latency_worker import PROTOCOL
from edgegd.errors import TargetUnknownError, WorkerError
from edgegd.targets.check import WORKER_FILE
from edgegd.targets.command import CommandTarget


@pytest.fixture
def box(tmp_path: Path) -> CommandTarget:
    url = f"command:env INSIDE=yes {shlex.quote(sys.executable)}"
    return CommandTarget.of("box", url, folder=str(tmp_path / "shared folder"))


def test_the_prefix_runs_the_copy_of_the_worker(box: CommandTarget, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import json, os; print(json.dumps({'a': [__file__, os.environ['INSIDE']]}), flush=True)")
    with closing(box.start_worker(program)) as worker:
        file, inside = worker.receive(30)["a"]
    assert inside == "yes" and Path(file).parent == tmp_path / "shared folder"
    assert Path(file).name == sha256(program.read_bytes()).hexdigest() + ".py"


def test_a_damaged_copy_is_made_anew_and_a_sound_one_is_kept(box: CommandTarget, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"sound")
    copy = Path(box.deliver(model))
    first = copy.stat().st_ino
    assert Path(box.deliver(model)).stat().st_ino == first
    copy.write_bytes(b"rotten")
    assert Path(box.deliver(model)).read_bytes() == b"sound"


def test_check_of_a_command(box: CommandTarget) -> None:
    items = {item.subject: item for item in box.check()}
    assert {"folder", "Python", "numpy", "onnxruntime", "space", "lock"} <= set(items)
    assert not [item for item in items.values() if item.level == "missing"]


def test_a_folder_that_is_not_seen_inside_is_told(tmp_path: Path) -> None:
    wrapper = tmp_path / "elsewhere"
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "/inside/$1"\n')
    wrapper.chmod(0o755)
    box = CommandTarget.of("box", f"command:{wrapper}", folder=str(tmp_path / "shared"))
    with pytest.raises(WorkerError, match=f"does not see the folder {tmp_path}/shared"):
        box.check()


def test_a_command_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="no-such-container"):
        CommandTarget.of("box", "command:no-such-container run", folder=str(tmp_path)).check()


@pytest.mark.parametrize("url", ["command:", "command:  ", "command:sh -c 'open"], ids=["empty", "blank", "open quote"])
def test_what_is_no_command_is_refused(url: str) -> None:
    with pytest.raises(TargetUnknownError):
        CommandTarget.of("box", url)


def test_folders_of_names_and_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    url = "command:python3"
    assert CommandTarget.of("box", url).folder == tmp_path / "edgegd" / "targets" / "box"
    assert CommandTarget.of(url, url).folder.parent == tmp_path / "edgegd" / "targets"
    assert CommandTarget.of(url, url).folder != CommandTarget.of("command:python", "command:python").folder


def test_messages_go_through_the_prefix(box: CommandTarget) -> None:
    with closing(box.start_worker(WORKER_FILE)) as worker:
        worker.send({"hello": PROTOCOL})
        assert worker.receive(60)["protocol"] == PROTOCOL
