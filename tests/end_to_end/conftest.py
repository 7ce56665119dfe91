"""Real processes of the command, to be interrupted and killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import END_S, hears_interrupts

Start = Callable[[Path, Path], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts `edgegd run RECIPE --run-dir DIR` as a process of its own, which does not outlive the test."""
    started: list[subprocess.Popen[str]] = []

    def run(recipe: Path, folder: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "edgegd.cli.main", "run", str(recipe), "--run-dir", str(folder)]
        started.append(
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
                preexec_fn=hears_interrupts,
            )
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait(END_S)
