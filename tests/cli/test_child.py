"""A command that another process started ends with it. Oracle: the process, and what it does as it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import END_S

WAITS = """
import sys, time
from edgegd.cli import child
from edgegd.cli.stop import sigterm_interrupts

def waits():
    with sigterm_interrupts():
        try:
            print("began", flush=True)
            time.sleep(300)
        except KeyboardInterrupt:
            print("a checkpoint is kept", flush=True)
            sys.exit(130)

child.main = waits
child.run()
"""
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE)
time.sleep(300)
"""


@pytest.fixture
def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


def test_the_end_of_stdin_ends_the_command_as_sigterm_does(environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == "began\n"
    process.stdin.close()
    assert process.stdout.readline() == "a checkpoint is kept\n"
    assert process.wait(END_S) == 130
    process.stdout.close()


def test_a_parent_that_is_killed_ends_the_command(environment: dict[str, str]) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, WAITS], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "began\n"
    parent.kill()
    assert parent.wait(END_S) == -9
    assert parent.stdout.read() == "a checkpoint is kept\n"  # until the child has closed it too
    parent.stdout.close()
