"""One measurement at a time on a device: a process on the device holds a lock for as long as a measurement runs."""

from __future__ import annotations

import getpass
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from edgegd.device import lock_keeper
from edgegd.device.answers import check_answer, device_of
from edgegd.errors import DeviceBusyError, WorkerError
from edgegd.foreign_text import one_line
from edgegd.targets.base import Worker

KEEPER = Path(lock_keeper.__file__)
LOCK_FILE = "/tmp/edgegd-device.lock"
"""On the device, for every user the same: /tmp is writable for all, and only its owner can remove a file there."""
LOCK_VARIABLE = "EDGEGD_DEVICE_LOCK"  # another file, for tests that must not wait for the machine's measurements
HEARTBEAT_S = 60.0
_ANSWER_S = 60.0


class Starts(Protocol):
    """Whatever can start a program on the device."""

    def start_worker(self, worker_file: Path) -> Worker:
        """As edgegd.targets.base.Target."""


@contextmanager
def device_lock(target: Starts) -> Iterator[None]:
    """Holds the device's lock. Raises DeviceBusyError, which names the holder, and WorkerError when the lock got lost.

    The kernel releases the lock when its keeper ends, and the keeper ends with this process or the connection.
    """
    with closing(target.start_worker(KEEPER)) as keeper:
        path = os.environ.get(LOCK_VARIABLE, LOCK_FILE)
        keeper.send({"lock": {"path": path, "owner": f"{_user()}@{socket.gethostname()} (process {os.getpid()})"}})
        answer = keeper.receive(_ANSWER_S)
        check_answer("lock", answer, device_of(keeper))
        if "held_by" in answer:
            raise DeviceBusyError(
                f"{device_of(keeper)} is busy: another measurement runs on it.",
                expected="one measurement at a time",
                found=f"it is held by {one_line(answer['held_by'])}",
                mend="wait for it, or ask its owner",
            )
        with _heartbeats(keeper):
            yield
        try:
            keeper.send({"lock": None})
            check_answer("unlock", keeper.receive(_ANSWER_S), device_of(keeper))  # only now the next one finds it free
        except WorkerError as error:
            raise WorkerError(
                f"{device_of(keeper)}: the lock on the device was lost while it was measured.",
                found=error.message(),
                expected="no other measurement beside this one",
                mend="measure again",
            ) from error


@contextmanager
def _heartbeats(keeper: Worker) -> Iterator[None]:
    """The keeper takes long silence for a dead connection."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_S):
            try:
                keeper.send({})
            except WorkerError:
                return  # whoever waits for the end of the measurement is told then

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"user {os.getuid()}"
