"""Programs that edgegd starts obey SIGINT, whoever started edgegd.

A process that a shell starts in the background ignores SIGINT (edgegd/cli/stop.py says why), and what it starts would
inherit that: ssh, QEMU, a container's client. They run in sessions of their own, where no terminal's Ctrl-C reaches
them; whoever sends one of them SIGINT means it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable


def hearing_interrupts() -> Callable[[], None] | None:
    """The `preexec_fn` for a child that obeys SIGINT; None where nothing has to be done, which is the usual case.

    Python code between fork and exec is a risk in a program of many threads, so it is run only where it is needed, and
    is one call.
    """
    return _obey if signal.getsignal(signal.SIGINT) is signal.SIG_IGN else None


def _obey() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
