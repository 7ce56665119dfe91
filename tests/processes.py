"""Processes that tests start, interrupt and wait for: they inherit no ignored signal, and every wait has a limit."""

from __future__ import annotations

import signal

END_S = 60.0
"""How long a test waits for the end of a process that was told to end; far more than it takes on a loaded machine."""


def hears_interrupts() -> None:
    """As `preexec_fn`: the process obeys SIGINT, also where `nohup make test &` has all of us ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python then installs its own handler; an ignored signal it leaves be


def ignores_interrupts() -> None:
    """As `preexec_fn`: the process is started as a shell starts one in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
