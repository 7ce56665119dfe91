"""A case's process: its limits of time and memory, and what it leaves running."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]


def in_own_process(tmp_path: Path, body: str) -> str:
    """What a program prints that has one thread, as the harness has."""
    program = f"""
    import subprocess, sys, time
    from pathlib import Path
    from fuzz import forked, isolation
    isolation.adopt_orphans()
    out, err = Path("out"), Path("err")
    {body}
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_exit_code_and_both_streams(tmp_path: Path) -> None:
    body = """ending = forked.in_fork(lambda: (print("said"), print("told", file=sys.stderr), exit(7)), out, err, 20)
    print(ending.exit_code, ending.out.strip(), ending.err.strip(), ending.timed_out)"""
    assert in_own_process(tmp_path, body) == "7 said told False"


def test_an_exception_is_an_unexpected_exit_with_its_traceback(tmp_path: Path) -> None:
    body = """ending = forked.in_fork(lambda: 1 / 0, out, err, 20)
    print(ending.exit_code, "Traceback" in ending.err)"""
    assert in_own_process(tmp_path, body) == "1 True"


def test_what_does_not_end_is_ended(tmp_path: Path) -> None:
    body = """ending = forked.in_fork(lambda: time.sleep(60), out, err, 0.5)
    print(ending.exit_code, ending.signal, ending.timed_out, ending.seconds < 20)"""
    assert in_own_process(tmp_path, body) == "None 9 True True"


def test_memory_is_seen(tmp_path: Path) -> None:
    body = """ending = forked.in_fork(lambda: bytearray(300_000_000), out, err, 20)
    print(ending.exit_code, 300_000_000 < ending.peak_bytes < 600_000_000)"""
    assert in_own_process(tmp_path, body) == "0 True"


def test_what_outlives_the_command_is_named_and_ended(tmp_path: Path) -> None:
    body = """forked.GRACE_S = 0.5
    ending = forked.in_fork(lambda: subprocess.Popen(["sleep", "61"], start_new_session=True), out, err, 20)
    print(ending.left_running, isolation.children())"""
    assert in_own_process(tmp_path, body) == "('sleep 61 ',) {}"
