"""Real processes of the command, to be interrupted and killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Start = Callable[[Path, Path], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Start:
    """Starts `edgegd run RECIPE --run-dir DIR` as a process of its own."""
    def run(recipe: Path, folder: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "edgegd.cli.main", "run", str(recipe), "--run-dir", str(folder)]
        # Tests that a shell runs in the background ignore SIGINT, and so would this process.
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                start_new_session=True,
                                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    return run
