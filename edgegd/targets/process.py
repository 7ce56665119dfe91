"""A worker behind the pipes of a child process: the part that every target that starts a command shares."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from edgegd.errors import EdgegdError, WorkerError
from edgegd.limits import MESSAGE_BYTES, STDERR_BYTES, WORKER_FILE_BYTES
from edgegd.targets.interrupts import hearing_interrupts

STDERR_TAIL_BYTES = 2000
EXIT_GRACE_S = 5.0
READ_BYTES = 1 << 16
LOOK_S = 0.25  # how often the size of stderr is looked at while an answer is waited for

Explain = Callable[[int | None, str], EdgegdError | None]
"""From a command's exit status (None: it still ran) and the tail of its stderr, the error it stands for, if known."""


class WorkerProcess:
    """A worker started by `command` in a process group of its own; messages are JSON objects, one a line.

    stderr goes to an unnamed temporary file, whose tail is part of every WorkerError; `explain` may know better what
    the end of the command means. A message of more than MESSAGE_BYTES, and more than STDERR_BYTES on stderr, end it;
    while nobody looks, the kernel ends it (RLIMIT_FSIZE) before its stderr fills the disk. `device` is the name of the
    device that it runs on, for messages.
    """

    def __init__(
        self, command: Sequence[str], explain: Explain = lambda code, stderr: None, device: str = "this machine"
    ) -> None:
        self._command, self._explain, self.device = list(command), explain, device
        self._received = bytearray()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 -- close() closes it, with the process
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                start_new_session=True,
                bufsize=0,
                preexec_fn=hearing_interrupts(),
            )
        except OSError as error:
            self._stderr.close()
            raise WorkerError(
                f"The latency worker could not be started on {device}.",
                found=str(error),
                expected=f"to run {self._command[0]}",
                mend="check that this program exists and may be executed",
            ) from error
        with contextlib.suppress(OSError):  # it has ended already, or this system has no such limit
            resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (WORKER_FILE_BYTES, WORKER_FILE_BYTES))
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._poll = select.poll()
        self._poll.register(self._stdout, select.POLLIN)

    @property
    def pid(self) -> int:
        """Process id of the started command, which is also the id of its process group."""
        return self._process.pid

    def send(self, message: dict[str, Any]) -> None:
        """Write one message; raises WorkerError when the worker is gone, or has spoken without being asked."""
        if self._received:  # the next answer would be taken for the answer to this message
            raise self._broke("one answer a message", repr(bytes(self._received[:200])))
        try:
            self._stdin.write(json.dumps(message).encode() + b"\n")
        except (OSError, ValueError) as error:
            raise self._died() from error

    def receive(self, timeout_s: float) -> dict[str, Any]:
        """The next message. Raises WorkerError when the worker dies, writes no JSON object or one that is too long, or
        is silent for timeout_s."""
        line = self._line(timeout_s)
        try:
            message = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise self._broke(
                "one JSON object a line",
                repr(line[:200]),
                "a shell on the device that prints a greeting (.bashrc) breaks the protocol",
            ) from error
        if not isinstance(message, dict):
            raise self._broke("a JSON object", repr(message)[:200])
        return message

    def _line(self, timeout_s: float) -> bytes:
        end, searched = time.monotonic() + timeout_s, 0
        while (place := self._received.find(b"\n", searched)) < 0:
            searched = len(self._received)
            if searched > MESSAGE_BYTES:
                raise self._broke(f"a line of at most {MESSAGE_BYTES >> 20} MiB", f"{searched} bytes without an end")
            remaining_s = end - time.monotonic()
            if self._stdout.closed:
                raise self._died()
            if self._stderr_bytes() > STDERR_BYTES:
                raise self._talkative()
            if remaining_s > LOOK_S and not self._poll.poll(LOOK_S * 1000):
                continue
            if remaining_s <= 0 or not self._poll.poll(remaining_s * 1000):
                raise self._failed(
                    f"The latency worker on {self.device} hangs and was ended.",
                    expected=f"an answer within {timeout_s:.0f} s",
                    found="none",
                    mend="see whether the machine is overloaded or out of memory, then run it again",
                )
            try:
                chunk = os.read(self._stdout.fileno(), READ_BYTES)
            except (OSError, ValueError):  # another thread has closed it
                raise self._died() from None
            if not chunk:
                raise self._died()
            self._received += chunk
        line = bytes(self._received[:place])
        del self._received[: place + 1]
        return line

    def close(self) -> None:
        """Kill the worker's process group and release the pipes; a second call does nothing."""
        if self._stdin.closed:
            return
        self._kill()
        self._process.wait()
        self._stdin.close()
        self._stdout.close()
        self._stderr.close()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _broke(self, expected: str, found: str, mend: str = "") -> WorkerError:
        return self._failed(
            f"The latency worker on {self.device} broke its protocol.", expected=expected, found=found, mend=mend
        )

    def _died(self) -> EdgegdError:
        if self._stdin.closed:
            return WorkerError(f"The latency worker on {self.device} was already ended.")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(EXIT_GRACE_S)
        if self._stderr_bytes() > STDERR_BYTES:
            return self._talkative()
        code = self._process.returncode
        explained = self._explain(code, self._last_words())
        if explained is not None:
            self.close()
            return explained
        if code is None:
            found = "it closed its output and still ran"
        else:
            found = f"it was ended by signal {-code}" if code < 0 else f"it exited with status {code}"
        return self._failed(
            f"The latency worker on {self.device} died.",
            expected="an answer",
            found=found,
            mend="see its last words above; signal 9 is often a machine out of memory",
        )

    def _failed(self, what: str, *, expected: str, found: str, mend: str = "") -> WorkerError:
        """A WorkerError that carries the tail of stderr, after the worker was ended."""
        tail = self._last_words()
        self.close()
        words = f"{found}; the last of its stderr:\n{tail}" if tail else f"{found}; its stderr is empty"
        return WorkerError(what, expected=expected, found=words, mend=mend)

    def _talkative(self) -> WorkerError:
        return self._broke(f"at most {STDERR_BYTES >> 20} MiB on its stderr", f"{self._stderr_bytes()} bytes")

    def _stderr_bytes(self) -> int:
        with contextlib.suppress(ValueError):  # another thread has closed it
            return os.fstat(self._stderr.fileno()).st_size
        return 0

    def _last_words(self) -> str:
        if self._stderr.closed:
            return ""
        self._stderr.seek(max(0, self._stderr_bytes() - STDERR_TAIL_BYTES))
        return self._stderr.read().decode(errors="replace").strip()


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")
