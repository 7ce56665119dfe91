"""Workers behind a real sshd: what ends them, what that is told as, and that none is left on the device."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from processes import END_S, hears_interrupts

from edgegd.device.latency_worker import PROTOCOL
from edgegd.errors import ConnectionLostError, DeviceSoftwareError, OnnxUnreadableError, ProtocolError, WorkerError
from edgegd.latency.measuring.record import Design
from edgegd.targets import check
from edgegd.targets.worker_protocol import WORKER_FILE, ask, configure

DESIGN = Design(launches=1, quads=1, block_s=0.02, warmup_s=0.1, threads=1, spinning=False)
LONG_S = 60.0
AT_ONCE_S = 20.0  # far below the time that a lost answer is waited for
HOST = """
import sys
from pathlib import Path
from edgegd.targets.worker_protocol import WORKER_FILE, configure
from edgegd.latency.measuring.record import Design
from edgegd.targets.ssh import SshTarget
url, python, config, model = sys.argv[1:]
target = SshTarget("board", url, python, ssh_config=config)
with target.lock():
    workers = [target.start_worker(WORKER_FILE) for _ in range(2)]
    for worker in workers:
        configure(worker, target.deliver(Path(model)), Design(
            launches=1, quads=1, block_s=0.1, warmup_s=0.1, threads=1, spinning=False))
    workers[0].send({"run": 60})
    print("running", flush=True)
    workers[0].receive(120)
"""


@pytest.fixture
def board(sshd_device: Any) -> Iterator[Any]:
    """An open target; no worker of it may be left after the test."""
    with closing(sshd_device.target()) as target:
        yield target
    sshd_device.wait_until(lambda: not sshd_device.programs())


@pytest.fixture
def model(make_model: Any) -> Path:
    return Path(make_model("over_ssh", products=40))


def working(board: Any, model: Path, message: dict[str, Any]) -> Any:
    """A worker that was just told to do something long."""
    worker = board.start_worker(WORKER_FILE)
    configure(worker, board.deliver(model), DESIGN)
    worker.send(message)
    time.sleep(0.3)
    return worker


def test_a_worker_over_ssh_measures_with_the_clock_of_the_device(board: Any, model: Path) -> None:
    with closing(board.start_worker(WORKER_FILE)) as worker:
        ready = configure(worker, board.deliver(model), DESIGN)
        assert ready["session"]["providers"] == ["CPUExecutionProvider"]
        answer = ask(worker, {"run": 0.1}, 0.1)
    clocks = [answer[when]["clocks_ns"]["monotonic"] for when in ("before", "after")]
    inside_ns = answer["first_ns"] + sum(answer["durations_ns"])
    assert 0 < inside_ns <= clocks[1] - clocks[0], "durations lie between the two states, without the way there"


@pytest.mark.parametrize("message", [{"warm_up": LONG_S}, {"run": LONG_S}], ids=["in the warm-up", "in a block"])
def test_a_connection_lost_is_told_at_once(
    board: Any, sshd_device: Any, model: Path, message: dict[str, Any], tmp_path: Path
) -> None:
    slow = tmp_path / "unstable.py"
    slow.write_text(WORKER_FILE.read_text().replace("STABLE_SPREAD = 2, 0.2, 5, 0.02", "STABLE_SPREAD = 2, 0.2, 5, 0"))
    assert slow.read_text() != WORKER_FILE.read_text()
    worker = board.start_worker(slow)  # its warm-up takes as long as it may
    configure(worker, board.deliver(model), DESIGN)
    worker.send(message)
    time.sleep(0.3)
    assert len(sshd_device.programs()) == 1
    sshd_device.cut()
    start = time.monotonic()
    with pytest.raises(ConnectionLostError, match="was lost"):
        worker.receive(2 * LONG_S)
    assert time.monotonic() - start < AT_ONCE_S
    sshd_device.wait_until(lambda: not sshd_device.programs())


def test_a_killed_worker_is_told_at_once(board: Any, sshd_device: Any, model: Path) -> None:
    worker = working(board, model, {"run": LONG_S})
    os.kill(sshd_device.programs()[0], signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(WorkerError, match=r"(?s)died.*signal 9"):
        worker.receive(2 * LONG_S)
    assert time.monotonic() - start < AT_ONCE_S


def test_a_closed_worker_is_gone_from_the_device_in_the_middle_of_a_block(
    board: Any, sshd_device: Any, model: Path
) -> None:
    worker = working(board, model, {"run": LONG_S})
    assert len(sshd_device.programs()) == 1
    worker.close()
    sshd_device.wait_until(lambda: not sshd_device.programs())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "SIGKILL"])
def test_no_worker_outlives_the_one_who_measures(sshd_device: Any, model: Path, number: signal.Signals) -> None:
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, sshd_device.url, sys.executable, sshd_device.config, model],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hears_interrupts,
    )
    assert host.stdout is not None and host.stdout.readline() == "running\n"
    assert len(sshd_device.programs()) == 3, "two workers and the keeper of the lock"
    host.send_signal(number)
    _, stderr = host.communicate(timeout=END_S)
    assert host.returncode != 0 and ("KeyboardInterrupt" in stderr) == (number == signal.SIGINT)
    sshd_device.wait_until(lambda: not sshd_device.programs())
    with closing(sshd_device.target()) as target, target.lock():
        pass  # it is free again


def stub(folder: Path, text: str) -> str:
    """A Python that finds this text in place of onnxruntime."""
    (folder / "onnxruntime.py").write_text(text)
    return f"env PYTHONPATH={folder} {sys.executable}"


@pytest.mark.parametrize(
    ("python", "words"),
    [
        (lambda folder: f"{sys.executable} -S", "No module named 'numpy'"),
        (lambda folder: stub(folder, "raise ImportError('libonnxruntime.so: wrong ELF class')"), "wrong ELF class"),
        (lambda folder: stub(folder, "__version__ = '1.22.1'"), "1.22.1 is too old"),
    ],
    ids=["missing", "broken", "too old"],
)
def test_an_onnxruntime_that_cannot_be_used(
    sshd_device: Any, model: Path, tmp_path: Path, words: str, python: Callable[[Path], str]
) -> None:
    with closing(sshd_device.target(python=python(tmp_path))) as target:
        with closing(target.start_worker(WORKER_FILE)) as worker, pytest.raises(DeviceSoftwareError, match=words):
            configure(worker, target.deliver(model), DESIGN)
        assert "onnxruntime" in [item.subject for item in target.check() if item.level == "missing"]


def test_a_worker_of_another_protocol(board: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "worker.py"
    old.write_text(WORKER_FILE.read_text().replace(f"PROTOCOL = {PROTOCOL}", "PROTOCOL = 1"))
    with closing(board.start_worker(old)) as worker, pytest.raises(ProtocolError):
        configure(worker, board.deliver(model), DESIGN)
    monkeypatch.setattr(check, "WORKER_FILE", old)
    with pytest.raises(ProtocolError, match=f"version 1, not {PROTOCOL}"):
        board.check()


def test_a_model_that_is_not_the_one_sent(board: Any, model: Path) -> None:
    with closing(board.start_worker(WORKER_FILE)) as worker, pytest.raises(WorkerError, match="not the model that was"):
        configure(worker, board.deliver(model), DESIGN, sha256="0" * 64)


def test_a_model_that_is_none(board: Any, tmp_path: Path) -> None:
    model = tmp_path / "broken.onnx"
    model.write_bytes(b"no model")
    with closing(board.start_worker(WORKER_FILE)) as worker, pytest.raises(OnnxUnreadableError):
        configure(worker, board.deliver(model), DESIGN)
