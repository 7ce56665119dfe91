"""Running something in a fork of this process, within limits of time and memory."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from fuzz import isolation
from fuzz.trial import Ending, Kind, Trial

MEMORY_LIMIT_BYTES = 2_000_000_000
KILLED_AT_BYTES = 4_000_000_000  # so that a fault does not take the machine along
TIME_LIMIT_S = 30.0
PREPARING_LIMIT_S = 120.0
HEARTBEAT_S = 0.05  # instead of a minute, so that a device can lie about it
GRACE_S = 3.0  # what a command has started may take so long to notice its end
_LOOK_S = 0.01


class NotPrepared(Exception):
    """A case could not be made: a fault of the fuzzer."""


def prepare(kind: Kind, random: Random, number: int, place: Path) -> Trial:
    """Lets `kind` spoil files in `place`, in a fork, so that nothing that it does to libraries stays. NotPrepared."""
    names = ("trial", "prepare.out", "prepare.err")
    told, out, err = (place / "tmp" / name for name in names)

    def make() -> None:
        os.chdir(place)
        try:
            made: Any = kind.make(random, place, number)
        except Exception:
            made = traceback.format_exc()
        told.write_bytes(pickle.dumps(made))

    ending = in_fork(make, out, err, PREPARING_LIMIT_S)
    made = pickle.loads(told.read_bytes()) if ending.exit_code == 0 else f"{ending.err}\nno trial was made"
    for path in (told, out, err):
        path.unlink(missing_ok=True)
    if not isinstance(made, Trial):
        raise NotPrepared(f"{kind.name}: {made}")
    return made


def run(trial: Trial, place: Path, logs: Path, limit_s: float = TIME_LIMIT_S) -> Ending:
    """Runs the trial's command line with the product's own `main()`, in `place`."""
    return in_fork(lambda: command(trial, place), logs / "out", logs / "err", limit_s)


def command(trial: Trial, place: Path) -> None:
    """The command itself, in the process that it is run in."""
    os.chdir(place)
    sys.argv = ["edgegd", *trial.arguments]
    if trial.patience_s is not None:
        _be_impatient(trial.patience_s)
    if trial.python:
        sys.executable = trial.python
    from edgegd.cli.main import main

    main()


def _be_impatient(seconds: float) -> None:
    """The deadlines for a device's answers are minutes, for slow boards; a device that is silent is known here."""
    from edgegd.precision import timing
    from edgegd.targets import check, lock
    from edgegd.targets import worker_protocol as conversation

    for module, name in (
        (conversation, "ANSWER_MARGIN_S"),
        (check, "_ANSWER_S"),
        (lock, "_ANSWER_S"),
        (timing, "_PROFILE_S"),
        (lock, "HEARTBEAT_S"),
    ):
        if not hasattr(module, name):
            raise AttributeError(f"{module.__name__} has no {name} any more: what is the deadline for an answer now?")
        setattr(module, name, HEARTBEAT_S if name == "HEARTBEAT_S" else seconds)


def in_fork(function: Callable[[], None], out: Path, err: Path, limit_s: float) -> Ending:
    """Calls `function` in a fork whose streams are these files; ends it, and all that it started, at the limits."""
    gc.freeze()  # the collector of the child then leaves the parent's pages shared
    start = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _be_child(function, out, err)
    peak_bytes, timed_out = 0, False
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            break
        peak_bytes = max(peak_bytes, _resident_bytes(pid))
        if time.monotonic() - start > limit_s or peak_bytes > KILLED_AT_BYTES:
            timed_out = peak_bytes <= KILLED_AT_BYTES
            os.kill(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            break
        time.sleep(_LOOK_S)
    seconds = time.monotonic() - start
    left = _left_running(0 if timed_out else GRACE_S)
    code = os.waitstatus_to_exitcode(status)
    return Ending(
        code if code >= 0 else None,
        max(0, -code),
        timed_out,
        seconds,
        max(peak_bytes, usage.ru_maxrss * 1024),
        usage.ru_utime + usage.ru_stime,
        left,
        _text(out),
        _text(err),
    )


def _left_running(grace_s: float) -> tuple[str, ...]:
    """What the fork left running after the grace, which is ended now."""
    end = time.monotonic() + grace_s
    while left := {pid: words for pid, words in isolation.children().items() if pid not in isolation.kept()}:
        if time.monotonic() >= end:
            isolation.end(set(left))
            return tuple(left.values()) if grace_s else ()
        time.sleep(_LOOK_S)
    return ()


def _be_child(function: Callable[[], None], out: Path, err: Path) -> None:
    status = 1
    try:
        os.setsid()
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        for path, descriptor in ((out, 1), (err, 2)):
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(file, descriptor)
            os.close(file)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        status = _status_of(function)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _status_of(function: Callable[[], None]) -> int:
    """The exit status of a program that is this function, its exit handlers run."""
    try:
        function()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    return status


def _resident_bytes(pid: int) -> int:
    """What the process and its children have resident, without what it shares with this one."""
    total = 0
    for one in (pid, *_below(pid)):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{one}/statm").read_text().split()
            total = max(total, int(fields[1]) * os.sysconf("SC_PAGE_SIZE"))
    return total


def _below(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(4 << 20).decode(errors="replace")
