"""The `edgegd` command as a process of ours starts it: it ends when that process does, however that one ended.

    python -m edgegd.cli.child run RECIPE ...

Its stdin is a pipe of the other process, which writes nothing to it: the kernel closes it at the other's end.
"""

from __future__ import annotations

import os
import signal
import threading
import time

from edgegd.cli.main import main

_GRACE_S = 20.0
"""How long the command has for ending as after SIGTERM: checkpoints are kept, workers ended."""


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_S)
    os._exit(130)


def run() -> None:
    """Runs the command of sys.argv."""
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    main()


if __name__ == "__main__":
    run()
