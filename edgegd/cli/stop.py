"""How a command is told to stop.

Ctrl-C (SIGINT) and `kill` (SIGTERM) end a command in the same clean way: workers on every device end, locks are freed,
checkpoints and samples are kept, and the exit code is 130.

A command that `nohup ... &` or a script starts in the background inherits SIGINT ignored, and it stays ignored there:
the shell does so because the terminal sends Ctrl-C, which is meant for the program in the foreground, to all of them.
Such a command is ended by SIGTERM. What edgegd itself starts does not inherit this (edgegd/targets/interrupts.py):
the worker, the keeper of the lock, ssh and QEMU obey SIGINT, and they end with the command in any case.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """In this block SIGTERM raises KeyboardInterrupt, unless whoever runs it here has decided otherwise before."""
    decided = signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    if decided or threading.current_thread() is not threading.main_thread():  # only that one may set handlers
        yield
        return
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
