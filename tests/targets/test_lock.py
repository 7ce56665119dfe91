"""The lock of a device: one holder, who is named, and whose end in any way frees it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from processes import END_S, hears_interrupts

from edgegd.errors import DeviceBusyError, WorkerError
from edgegd.targets import lock
from edgegd.targets.command import CommandTarget
from edgegd.targets.local import LocalTarget
from edgegd.targets.lock import KEEPER, LOCK_VARIABLE

HOLD = """
from edgegd.targets.local import LocalTarget
with LocalTarget().lock():
    print("held", flush=True)
    input()
"""


@pytest.fixture
def lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(LOCK_VARIABLE, str(tmp_path / "device.lock"))
    return tmp_path / "device.lock"


@pytest.fixture
def holder(lock_file: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of this machine."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=hears_interrupts,
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate(timeout=END_S)


def test_who_holds_it_is_named(holder: subprocess.Popen[str]) -> None:
    holds = rf"\(process {holder.pid}\) since \d{{4}}-"
    with pytest.raises(DeviceBusyError, match=holds) as busy, LocalTarget().lock():
        pytest.fail("two hold the lock")
    assert "local" in busy.value.what  # which device it is about


def test_it_is_free_as_soon_as_it_is_left(lock_file: Path) -> None:
    for _ in range(5):
        with LocalTarget().lock(), pytest.raises(DeviceBusyError), LocalTarget().lock():
            pytest.fail("two hold the lock")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_end_of_its_holder_frees_it(holder: subprocess.Popen[str], number: signal.Signals) -> None:
    holder.send_signal(number)
    holder.wait(END_S)
    deadline = time.monotonic() + 20
    while True:
        try:
            with LocalTarget().lock():
                return
        except DeviceBusyError:
            assert time.monotonic() < deadline, "the lock outlived its holder"
            time.sleep(0.05)


def test_measuring_through_ssh_and_on_the_machine_itself_exclude_each_other(sshd_device: Any, lock_file: Path) -> None:
    with closing(sshd_device.target()) as board:
        with LocalTarget().lock(), pytest.raises(DeviceBusyError), board.lock():
            pytest.fail("two hold the lock")
        with board.lock(), pytest.raises(DeviceBusyError), LocalTarget().lock():
            pytest.fail("two hold the lock")
        with board.lock():
            (item,) = [item for item in sshd_device.target().check() if item.subject == "lock"]
            assert item.level == "note" and f"process {os.getpid()}" in item.found


def test_a_command_is_this_machine(lock_file: Path, tmp_path: Path) -> None:
    command = CommandTarget("box", ("false",), tmp_path)
    with LocalTarget().lock(), pytest.raises(DeviceBusyError), command.lock():
        pytest.fail("two hold the lock")


def test_a_connection_lost_frees_it_and_is_told(sshd_device: Any, lock_file: Path) -> None:
    with closing(sshd_device.target()) as board:
        with pytest.raises(WorkerError, match="lock on the device was lost"), board.lock():
            sshd_device.cut()
            sshd_device.wait_until(lambda: not sshd_device.programs())
        with board.lock():
            pass


def test_users_exclude_each_other(lock_file: Path, tmp_path: Path) -> None:
    if os.getuid() != 0 or not Path("/usr/bin/python3").exists():
        pytest.skip("only root can be another user, and needs a Python that all may run")
    shared = tmp_path / "shared"  # others may not look for it from the root, so they get it as their working directory
    shared.mkdir()
    shared.chmod(0o1777)
    command = ["/usr/bin/python3", "-c", KEEPER.read_text()]
    keepers = [
        subprocess.Popen(
            command, user=user, stdin=subprocess.PIPE, stdout=subprocess.PIPE, umask=0o077, cwd=shared, text=True
        )
        for user in (65534, 65533, 0)
    ]

    def ask(keeper: subprocess.Popen[str]) -> dict[str, Any]:
        assert keeper.stdin is not None and keeper.stdout is not None
        message = {"lock": {"path": "device.lock", "owner": f"user of {keeper.pid}"}}
        keeper.stdin.write(json.dumps(message) + "\n")
        keeper.stdin.flush()
        answer: dict[str, Any] = json.loads(keeper.stdout.readline())
        return answer

    try:
        assert ask(keepers[0]) == {"locked": True}
        assert f"user of {keepers[0].pid} since" in ask(keepers[1])["held_by"]
        keepers[0].kill()
        keepers[0].wait(END_S)
        assert ask(keepers[2]) == {"locked": True}
        assert stat.S_IMODE((shared / "device.lock").stat().st_mode) == 0o666
    finally:
        for keeper in keepers:
            keeper.kill()
            keeper.communicate(timeout=END_S)


def test_heartbeats_go_on_while_it_is_held(lock_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.05)
    beats: list[Any] = []

    class Listening(LocalTarget):
        def start_worker(self, worker_file: Path) -> Any:
            worker = super().start_worker(worker_file)
            send = worker.send
            worker.send = lambda message: (beats.append(message), send(message))  # type: ignore[method-assign]
            return worker

    before = threading.active_count()
    with Listening().lock():
        end = time.monotonic() + END_S
        while beats.count({}) < 3:
            assert time.monotonic() < end, "no heartbeat"
            time.sleep(0.01)
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    assert "lock" in beats[0] and beats[-1] == {"lock": None}


def test_a_keeper_that_hears_nothing_ends(lock_file: Path, tmp_path: Path) -> None:
    deaf = tmp_path / "keeper.py"
    deaf.write_text(KEEPER.read_text().replace("SILENCE_S = 300.0", "SILENCE_S = 0.3"))
    with closing(LocalTarget().start_worker(deaf)) as keeper:
        keeper.send({"lock": {"path": str(lock_file), "owner": "somebody"}})
        assert keeper.receive(30) == {"locked": True}
        with pytest.raises(WorkerError, match="exited with status 0"):
            keeper.receive(30)
