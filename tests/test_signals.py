"""What is started from a parent that ignores SIGINT (`nohup ... &`, a script's `&`) still ends when it is told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import END_S, hears_interrupts, ignores_interrupts

from edgegd.cli.stop import sigterm_interrupts

PARENT = """
import json, sys
from pathlib import Path
from edgegd.device.latency_worker import PROTOCOL
from edgegd.targets.check import WORKER_FILE
from edgegd.targets.local import LocalTarget
from edgegd.targets.lock import KEEPER
worker, keeper = LocalTarget().start_worker(WORKER_FILE), LocalTarget().start_worker(KEEPER)
worker.send({"hello": PROTOCOL})
worker.receive(60)
keeper.send({"lock": {"path": sys.argv[1], "owner": "a test"}})
assert keeper.receive(60) == {"locked": True}
print(json.dumps([worker.pid, keeper.pid]), flush=True)
input()
"""


def ended(pid: int) -> bool:
    """Whether a process is gone, or only waits for its parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_for(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + END_S
    while not holds():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A process that ignores SIGINT, and the ids of its worker and its keeper of a lock."""
    command = [sys.executable, "-c", PARENT, str(tmp_path / "device.lock")]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=ignores_interrupts
    )
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate(timeout=END_S)


def test_worker_and_keeper_obey_the_interrupt_that_their_parent_ignores(parent: Any) -> None:
    process, children = parent
    process.send_signal(signal.SIGINT)
    for pid in children:
        assert not ended(pid)
        os.kill(pid, signal.SIGINT)
        wait_for(lambda pid=pid: ended(pid))  # type: ignore[misc]
    assert process.poll() is None, "the parent goes on: the interrupt was not meant for it"


STUBBORN = """
import signal, sys, threading
from edgegd.targets.process import WorkerProcess
def start():
    worker = WorkerProcess(["sleep", "600"])  # a program that, like ssh and QEMU, changes nothing of what it inherits
    print(worker.pid, signal.getsignal(signal.SIGINT).name, flush=True)
    threading.Event().wait(600)
threading.Thread(target=start, daemon=True).start()
input()
"""


def test_programs_that_are_not_ours_obey_it_too() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=ignores_interrupts,
    )
    try:
        assert process.stdout is not None
        pid, disposition = process.stdout.readline().split()
        assert disposition == "SIG_IGN" and not ended(int(pid))
        os.kill(int(pid), signal.SIGINT)
        wait_for(lambda: ended(int(pid)))
    finally:
        process.kill()
        process.communicate(timeout=END_S)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_worker_and_keeper_end_with_their_parent(parent: Any, number: signal.Signals) -> None:
    process, children = parent
    process.send_signal(number)
    process.wait(END_S)
    for pid in children:
        wait_for(lambda pid=pid: ended(pid))  # type: ignore[misc]


# A command that takes long and cleans up after itself.
COMMAND = """
import sys, time
from pathlib import Path
import click
import edgegd.cli.main as main

@click.command()
@click.argument("file")
def work(file):
    Path(file).touch()
    try:
        print("works", flush=True)
        time.sleep(600)
    finally:
        Path(file).unlink()

main.edgegd.add_command(work)
main.main()
"""


@pytest.mark.parametrize(
    ("start", "numbers"),
    [
        (hears_interrupts, [signal.SIGINT]),
        (hears_interrupts, [signal.SIGTERM]),
        (ignores_interrupts, [signal.SIGINT, signal.SIGTERM]),
    ],
    ids=["Ctrl-C", "kill", "in the background: Ctrl-C is for others, kill ends it"],
)
def test_a_command_ends_cleanly(start: Callable[[], None], numbers: list[signal.Signals], tmp_path: Path) -> None:
    file = tmp_path / "file"
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "work", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=start,
    )
    try:
        assert command.stdout is not None and command.stdout.readline() == "works\n" and file.exists()
        for number in numbers[:-1]:
            command.send_signal(number)
            with pytest.raises(subprocess.TimeoutExpired):
                command.wait(1)
        command.send_signal(numbers[-1])
        _, err = command.communicate(timeout=END_S)
    finally:
        command.kill()
    assert command.returncode == 130 and err.strip().startswith("edgegd: Interrupted.\n") and "Traceback" not in err
    assert not file.exists()


EXEC = """
from edgegd.cli import main
from edgegd.errors import InterruptedRunError

@main.edgegd.command()
def bare():
    exec("raise KeyboardInterrupt")

@main.edgegd.command()
def stage():
    try:
        exec("raise KeyboardInterrupt")
    except KeyboardInterrupt as interrupt:
        raise InterruptedRunError("Interrupted.") from interrupt

main.main()
"""


@pytest.mark.parametrize("name", ["bare", "stage"])
def test_an_interrupt_inside_exec_is_code_130_too(tmp_path: Path, name: str) -> None:
    """CPython marks the interrupt of exec() of a string as unhandled; started with `-m` it then dies by the signal."""
    (tmp_path / "a_command.py").write_text(EXEC)
    command = subprocess.run(
        [sys.executable, "-m", "a_command", name], cwd=tmp_path, capture_output=True, text=True, timeout=END_S
    )
    assert command.returncode == 130 and command.stderr.lstrip().startswith("edgegd: Interrupted.\n")


def test_a_handler_of_the_callers_own_stays() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with sigterm_interrupts():
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]
    with sigterm_interrupts(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(END_S)
    assert signal.getsignal(signal.SIGTERM) == before
