"""A run of a sweep as a process of its own: what is run, the process, and what it left.

The process is the command `edgegd run`, so that a trial can be repeated by hand. It is started with a pipe as its
stdin and ends when that pipe does (edgegd/cli/child.py): a sweep, or a node of a cluster, that is killed leaves no run
behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from edgegd import errors
from edgegd.errors import EdgegdError, RunFolderBusyError, UnexpectedError
from edgegd.safe_outputs import open_descriptor

COMMAND = (sys.executable, "-m", "edgegd.cli.child")
_BUSY_S = 300.0
"""How long a run folder may still be held by a process of before a kill: it ends slowly where others work too."""
_AGAIN_S = 1.0
_STOP_S = 30.0
_LAST_WORDS = 500


@dataclass(frozen=True)
class Job:
    """A run to be made: `arguments` of `edgegd`, its run folder, and where its output goes.

    Paths are absolute; `command` is the program that takes the arguments, `folder` where it works.
    """

    name: str
    arguments: tuple[str, ...]
    run_dir: Path
    output: Path
    folder: Path
    command: tuple[str, ...] = COMMAND

    @property
    def stop_file(self) -> Path:
        """A file that asks whoever runs the job, on whatever machine, to stop it."""
        return self.output.with_suffix(".stop")


@dataclass(frozen=True)
class Outcome:
    """How a job ended: its exit code (negative: the signal that ended it), its error, the machine, the seconds."""

    code: int
    error: EdgegdError | None
    machine: str
    seconds: float


class JobProcess:
    """A job's process. `outcome()` says how it ended, `stop()` ends it."""

    def __init__(self, job: Job) -> None:
        self.job, self._started = job, time.monotonic()
        self._busy_until, self._again_at, self._stopped = self._started + _BUSY_S, 0.0, False
        self._process = self._start()

    def outcome(self) -> Outcome | None:
        """How the job ended; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        now = time.monotonic()
        if code == RunFolderBusyError.exit_code and now < self._busy_until and not self._stopped:
            if not self._again_at:
                self._again_at = now + _AGAIN_S
            elif now >= self._again_at:
                self._again_at, self._process = 0.0, self._start()
            return None
        self._close()
        error = None if code == 0 else _error_of(self.job, code)
        return Outcome(code, error, os.uname().nodename, now - self._started)

    def stop(self) -> None:
        """Ends the process as SIGTERM does; its checkpoint is kept."""
        self._stopped = True
        self._close()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        folder = self.job.folder if self.job.folder.is_dir() else None
        output, log_file = self.job.output, self.job.output.with_suffix(".log")
        with (
            os.fdopen(open_descriptor(output, os.O_WRONLY | os.O_TRUNC), "wb") as out,
            os.fdopen(open_descriptor(log_file, os.O_WRONLY | os.O_APPEND), "ab") as log,
        ):
            return subprocess.Popen(
                [*self.job.command, *self.job.arguments],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=log,
                cwd=folder,
                start_new_session=True,
            )

    def _close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()


def _error_of(job: Job, code: int) -> EdgegdError:
    """The error that a run printed as JSON, or one that says how it ended."""
    try:
        told = json.loads(job.output.read_text(encoding="utf-8").strip().splitlines()[-1])
        kind = getattr(errors, told["error"], UnexpectedError)
        return _made(kind, **{key: str(told[key]) for key in ("what", "expected", "found", "mend")})
    except (OSError, ValueError, IndexError, KeyError, TypeError):
        log = job.output.with_suffix(".log")
        words = log.read_text(encoding="utf-8", errors="replace")[-_LAST_WORDS:].strip() if log.exists() else ""
        how = f"it was ended by signal {-code}" if code < 0 else f"it exited with status {code}"
        return UnexpectedError(
            f"The run of {job.name} ended without a result.",
            found=f"{how}; the last of its output:\n{words}" if words else how,
            mend="signal 9 is often a machine out of memory" if code == -signal.SIGKILL else f"see {log}",
        )


def _made(kind: type, what: str, expected: str, found: str, mend: str) -> EdgegdError:
    if not (isinstance(kind, type) and issubclass(kind, EdgegdError)):
        kind = UnexpectedError
    error = EdgegdError(what, expected=expected, found=found, mend=mend)
    error.__class__ = kind  # some take other arguments, all print these four
    return error
