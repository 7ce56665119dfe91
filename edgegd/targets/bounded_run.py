"""Running a command whose output is limited: a device may answer without an end."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from typing import Any

from edgegd.limits import OUTPUT_BYTES
from edgegd.targets.interrupts import hearing_interrupts

_LOOK_S = 0.02  # how often the sizes are looked at


class TooMuchOutputError(Exception):
    """A command wrote more than OUTPUT_BYTES, and was ended."""


@dataclass(frozen=True)
class Done:
    """A command's exit status and its output; what is no UTF-8 is replaced."""

    code: int
    stdout: str
    stderr: str


def run_bounded(command: list[str], stdin: Any = subprocess.DEVNULL, limit_s: float | None = None) -> Done:
    """Runs a command in a process group of its own to its end.

    Output goes to unnamed files, because a pipe would stay open in a process that it leaves behind (ssh's control
    connection). Raises FileNotFoundError, subprocess.TimeoutExpired after `limit_s`, and TooMuchOutputError.
    """
    end = None if limit_s is None else time.monotonic() + limit_s
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            command, stdin=stdin, stdout=out, stderr=err, start_new_session=True, preexec_fn=hearing_interrupts()
        )
        try:
            while True:
                try:
                    process.wait(_LOOK_S)
                except subprocess.TimeoutExpired:
                    if end is not None and time.monotonic() > end:
                        raise subprocess.TimeoutExpired(command, limit_s or 0) from None
                if any(os.fstat(file.fileno()).st_size > OUTPUT_BYTES for file in (out, err)):
                    raise TooMuchOutputError
                if process.returncode is not None:
                    break
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        for file in (out, err):
            file.seek(0)
        stdout, stderr = (file.read().decode(errors="replace") for file in (out, err))
    return Done(process.returncode, stdout, stderr)
