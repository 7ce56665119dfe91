"""Devices behind ssh that answer by something else: one error that names the device, and no endless file."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from edgegd.errors import ConnectionLostError, DeviceUnreachableError, EdgegdError, WorkerError
from edgegd.targets import bounded_run
from edgegd.targets.ssh import SshTarget


@pytest.fixture
def strange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """strange(python source) -> a target whose ssh client is this program."""

    def made(source: str) -> SshTarget:
        program = tmp_path / "bin" / "ssh"
        program.parent.mkdir()
        program.write_text(
            f"#!{sys.executable}\nimport sys, os\nif '-O' in sys.argv: sys.exit()\n"
            f"out, err = sys.stdout.buffer, sys.stderr.buffer\n{textwrap.dedent(source)}"
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        return SshTarget("board", "ssh://board")

    return made


@pytest.mark.parametrize(
    "answer",
    [
        "b''",
        "b'whole'",
        "b'\\xff\\xfe\\n\\xff\\n'",
        "b'-5\\n/tmp\\n'",
        "b'99x\\n/tmp\\n'",
        "b'0\\nno/absolute/path\\n'",
        "b'\\xc2\\xb2\\n/tmp\\n'",
        "b'0\\n\\x1b[2J\\n'",
        "b'9' * 5000 + b'\\n/tmp\\n'",
    ],
)
def test_garbage_instead_of_the_state_of_a_copy(strange: Any, tmp_path: Path, answer: str) -> None:
    (tmp_path / "model.onnx").write_bytes(b"model")
    with pytest.raises(WorkerError, match="ssh://board answered a command by something else") as caught:
        strange(f"out.write({answer})").deliver(tmp_path / "model.onnx")
    assert "\x1b" not in caught.value.message()


@pytest.mark.parametrize("stream", ["out", "err"])
def test_an_endless_answer_is_ended(strange: Any, tmp_path: Path, stream: str) -> None:
    (tmp_path / "model.onnx").write_bytes(b"model")
    with pytest.raises(WorkerError, match=r"(?s)ssh://board does not stop.*at most 1 MiB"):
        strange(f"while True: {stream}.write(b'y' * 4096)").deliver(tmp_path / "model.onnx")


def test_an_endless_banner_of_a_worker_is_ended(strange: Any, tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text("")
    target = strange("""
        if not any('edgegd' in word and 'mkdir' in word for word in sys.argv):
            while True: err.write(b'banner ' * 1000)
        out.write(b'whole\\n/tmp\\n')
        """)
    with pytest.raises(WorkerError, match=r"(?s)board.*MiB on its stderr"):
        target.start_worker(tmp_path / "worker.py").receive(60)


def test_words_that_are_no_text_are_shown_as_escapes(strange: Any) -> None:
    with pytest.raises(EdgegdError) as caught:
        strange("err.write(b'\\xff\\x1b]0;owned\\x07\\nedgegd: PASS\\n'); sys.exit(255)").check()
    assert isinstance(caught.value, (DeviceUnreachableError, ConnectionLostError))
    shown = caught.value.message()
    assert "\x1b" not in shown and "\\x1b]0;owned" in shown and "\nedgegd: PASS" not in shown


def test_a_command_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(bounded_run.subprocess.TimeoutExpired):
        bounded_run.run_bounded(["sleep", "60"], limit_s=0.2)
    done = bounded_run.run_bounded(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert done == bounded_run.Done(3, "out\n", "err\n")
