"""Workers that misbehave: each ends as a WorkerError with the last of its stderr, and no process is left."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgegd.errors import WorkerError
from edgegd.targets import process
from edgegd.targets.local import LocalTarget
from edgegd.targets.process import STDERR_TAIL_BYTES, WorkerProcess

ECHO = "import sys\nfor line in sys.stdin: sys.stdout.write(line); sys.stdout.flush()\n"


@pytest.fixture
def start() -> Iterator[Any]:
    """start(python source) -> WorkerProcess; all are closed afterwards."""
    started: list[WorkerProcess] = []

    def run(source: str) -> WorkerProcess:
        started.append(WorkerProcess([sys.executable, "-c", source]))
        return started[-1]

    yield run
    for worker in started:
        worker.close()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"  # killed, and not yet collected by init


def test_messages_go_there_and_back_in_order(start: Any) -> None:
    worker = start(ECHO)
    worker.send({"first": 1})
    worker.send({"second": list(range(100_000))})
    assert worker.receive(30) == {"first": 1}
    assert worker.receive(30)["second"][-1] == 99_999, "an answer larger than a pipe's buffer arrives whole"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import sys; sys.stdin.readline(); print('last words', file=sys.stderr); sys.exit(3)", "status 3"),
        ("import os, sys; sys.stdin.readline(); os.write(2, b'last words'); os.kill(os.getpid(), 11)", "signal 11"),
    ],
    ids=["exits", "crashes"],
)
def test_death_is_told_with_the_last_words(start: Any, source: str, found: str) -> None:
    worker = start(source)
    worker.send({"run": 1})
    with pytest.raises(WorkerError, match=f"(?s){found}.*last words"):
        worker.receive(30)
    with pytest.raises(WorkerError, match="already ended"):
        worker.send({"run": 1})
    with pytest.raises(WorkerError, match="already ended"):
        worker.receive(1)


def test_only_the_tail_of_a_long_stderr_is_told(start: Any) -> None:
    worker = start("import sys; sys.stderr.write('early' + 'x' * 300_000 + 'late'); sys.exit(1)")
    with pytest.raises(WorkerError, match="late") as caught:
        worker.receive(30)
    assert "early" not in str(caught.value) and len(str(caught.value)) < STDERR_TAIL_BYTES + 500


def test_a_silent_worker_is_ended_with_everything_it_started(start: Any) -> None:
    source = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)'])\n"
        "print('{\"child\": %d}' % child.pid, flush=True)\ntime.sleep(99)"
    )
    worker = start(source)
    child = worker.receive(30)["child"]
    assert not gone(child)
    with pytest.raises(WorkerError, match="hangs"):
        worker.receive(0.2)
    assert gone(worker.pid)
    deadline = time.monotonic() + 10
    while not gone(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert gone(child)


def test_half_an_answer_does_not_count(start: Any) -> None:
    worker = start("import time; print('{\"ready\": ', end='', flush=True); time.sleep(99)")
    with pytest.raises(WorkerError, match="hangs"):
        worker.receive(1)


@pytest.mark.parametrize("line", ["not json", "[1, 2]"], ids=["no JSON", "no object"])
def test_what_is_no_message_breaks_the_protocol(start: Any, line: str) -> None:
    with pytest.raises(WorkerError, match="protocol"):
        start(f"print({line!r}, flush=True); input()").receive(30)


def test_a_command_that_does_not_exist_is_named() -> None:
    with pytest.raises(WorkerError, match="/no/such/python"):
        WorkerProcess(["/no/such/python"])


def test_local_target_runs_this_python(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import json, sys; print(json.dumps({'python': sys.executable}), flush=True)")
    worker = LocalTarget().start_worker(program)
    assert worker.receive(30) == {"python": sys.executable}
    worker.close()
    worker.close()
    assert gone(worker.pid)


def test_local_target_delivers_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert LocalTarget().deliver(Path("model.onnx")) == str(tmp_path.resolve() / "model.onnx")


def test_an_endless_line_is_ended(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "MESSAGE_BYTES", 1 << 20)
    worker = start("import sys\nwhile True: sys.stdout.write('x' * 65536)")
    with pytest.raises(WorkerError, match=r"(?s)this machine broke its protocol.*a line of at most 1 MiB"):
        worker.receive(30)
    assert gone(worker.pid)


def test_an_endless_stderr_fills_no_disk(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "STDERR_BYTES", 1 << 20)
    worker = start("import sys\nwhile True: sys.stderr.write('x' * 65536)")
    with pytest.raises(WorkerError, match=r"(?s)broke its protocol.*at most 1 MiB on its stderr"):
        worker.receive(30)
    assert gone(worker.pid)


def test_the_kernel_ends_an_endless_stderr_that_nobody_looks_at(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "WORKER_FILE_BYTES", 20 << 20)
    worker = start("import sys\nwhile True: sys.stderr.write('x' * 65536)")
    deadline = time.monotonic() + 30
    while not gone(worker.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert gone(worker.pid)
    with pytest.raises(WorkerError, match="on its stderr"):
        worker.receive(30)


def test_who_speaks_without_being_asked_is_not_believed(start: Any) -> None:
    worker = start('print(\'{"first": 1}\\n{"second": 2}\', flush=True); input(); input()')
    assert worker.receive(30) == {"first": 1}
    with pytest.raises(WorkerError, match=r"(?s)broke its protocol.*second"):
        worker.send({"run": 1})


@pytest.mark.parametrize(
    "line",
    [
        "b'\\xff\\xfe\\n'",
        "b'[' * 100000 + b'\\n'",
        "b'{\"a\": NaN}\\n'",
        "b'{\"a\": ' + b'9' * 9999 + b'}\\n'",
    ],
    ids=["no UTF-8", "deep", "NaN", "long number"],
)
def test_garbage_is_one_error(start: Any, line: str) -> None:
    with pytest.raises(WorkerError, match="protocol"):
        start(f"import sys; sys.stdout.buffer.write({line}); sys.stdout.flush(); input()").receive(30)
