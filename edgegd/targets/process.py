"""A worker behind the pipes of a child process: the part that every target that starts a command shares."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from edgegd.errors import EdgegdError, WorkerError
from edgegd.targets.interrupts import hearing_interrupts

STDERR_TAIL_BYTES = 2000
EXIT_GRACE_S = 5.0
READ_BYTES = 1 << 16

Explain = Callable[[int | None, str], EdgegdError | None]
"""From a command's exit status (None: it still ran) and the tail of its stderr, the error it stands for, if known."""


class WorkerProcess:
    """A worker started by `command` in a process group of its own; messages are JSON objects, one a line.

    stderr goes to an unnamed temporary file, whose tail is part of every WorkerError; `explain` may know better what
    the end of the command means.
    """

    def __init__(self, command: Sequence[str], explain: Explain = lambda code, stderr: None) -> None:
        self._command, self._explain = list(command), explain
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 -- close() closes it, with the process
        self._received = bytearray()
        try:
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                             stderr=self._stderr, start_new_session=True, bufsize=0,
                                             preexec_fn=hearing_interrupts())
        except OSError as error:
            self._stderr.close()
            raise WorkerError("The latency worker could not be started.", expected=f"to run {self._command[0]}",
                              found=str(error), mend="check that this program exists and may be executed") from error
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._poll = select.poll()
        self._poll.register(self._stdout, select.POLLIN)

    @property
    def pid(self) -> int:
        """Process id of the started command, which is also the id of its process group."""
        return self._process.pid

    def send(self, message: dict[str, Any]) -> None:
        """Write one message; raises WorkerError when the worker is gone."""
        try:
            self._stdin.write(json.dumps(message).encode() + b"\n")
        except (OSError, ValueError) as error:
            raise self._died() from error

    def receive(self, timeout_s: float) -> dict[str, Any]:
        """The next message. Raises WorkerError when the worker dies, writes no JSON, or is silent for timeout_s."""
        end = time.monotonic() + timeout_s
        while b"\n" not in self._received:
            remaining_s = end - time.monotonic()
            if self._stdout.closed:
                raise self._died()
            if remaining_s <= 0 or not self._poll.poll(remaining_s * 1000):
                raise self._failed("The latency worker hangs and was ended.",
                                   expected=f"an answer within {timeout_s:.0f} s", found="none",
                                   mend="see whether the machine is overloaded or out of memory, then run it again")
            chunk = os.read(self._stdout.fileno(), READ_BYTES)
            if not chunk:
                raise self._died()
            self._received += chunk
        line, _, rest = bytes(self._received).partition(b"\n")
        self._received = bytearray(rest)
        try:
            message = json.loads(line)
        except ValueError as error:
            raise self._failed("The latency worker broke its protocol.", expected="one JSON object a line",
                               found=repr(line[:200])) from error
        if not isinstance(message, dict):
            raise self._failed("The latency worker broke its protocol.", expected="a JSON object", found=repr(message))
        return message

    def close(self) -> None:
        """Kill the worker's process group and release the pipes; a second call does nothing."""
        if self._stdin.closed:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._stdin.close()
        self._stdout.close()
        self._stderr.close()

    def _died(self) -> EdgegdError:
        if self._stdin.closed:
            return WorkerError("The latency worker was already ended.")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(EXIT_GRACE_S)
        code = self._process.returncode
        explained = self._explain(code, self._last_words())
        if explained is not None:
            self.close()
            return explained
        if code is None:
            found = "it closed its output and still ran"
        else:
            found = f"it was ended by signal {-code}" if code < 0 else f"it exited with status {code}"
        return self._failed("The latency worker died.", expected="an answer", found=found,
                            mend="see its last words above; signal 9 is often a machine out of memory")

    def _failed(self, what: str, *, expected: str, found: str, mend: str = "") -> WorkerError:
        """A WorkerError that carries the tail of stderr, after the worker was ended."""
        tail = self._last_words()
        self.close()
        words = f"{found}; the last of its stderr:\n{tail}" if tail else f"{found}; its stderr is empty"
        return WorkerError(what, expected=expected, found=words, mend=mend)

    def _last_words(self) -> str:
        size = os.fstat(self._stderr.fileno()).st_size
        self._stderr.seek(max(0, size - STDERR_TAIL_BYTES))
        return self._stderr.read().decode(errors="replace").strip()
