"""Exceptions that no stage foresaw: what the operating system refuses has an error and an exit code of its own."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgegd.cli.document import errors_page
from edgegd.cli.unforeseen import REMAINING, documented
from edgegd.errors import (
    EdgegdError,
    FileAccessError,
    MissingExtraError,
    NoSpaceError,
    OutputClosedError,
    ResourceError,
    UnexpectedError,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("error", "kind", "word"),
    [
        (MemoryError(), ResourceError, "MemoryError"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 8e12 bytes"), ResourceError, "8e12"),
        (RuntimeError("can't start new thread"), ResourceError, "thread"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), ResourceError, "libtorch"),
        (OSError(errno.EMFILE, "Too many open files"), ResourceError, "Too many open files"),
        (OSError(errno.EMFILE, "Too many open files", "a.jpg"), ResourceError, "a.jpg"),
        (OSError(errno.ENOSPC, "No space left on device"), NoSpaceError, "The output"),
        (OSError(errno.ENOSPC, "No space left on device", "x/y"), NoSpaceError, "x/y"),
        (OSError(errno.EIO, "Input/output error"), FileAccessError, "Input/output error"),
        (PermissionError(errno.EACCES, "Permission denied", "x/y"), FileAccessError, "x/y: Permission denied"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), OutputClosedError, "has ended"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), MissingExtraError, "torch"),
        (ModuleNotFoundError("No module named 'edgegd.x'", name="edgegd.x"), UnexpectedError, "edgegd.x"),
        (KeyError("x"), UnexpectedError, "KeyError"),
        (RuntimeError("CUDA error: unspecified launch failure"), UnexpectedError, "CUDA"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_exception_becomes_the_error_that_it_stands_for(
    error: Exception, kind: type[EdgegdError], word: str
) -> None:
    found = documented(error)
    assert type(found) is kind and word in found.message()


def test_the_page_lists_what_remains_with_its_reasons() -> None:
    page = errors_page()
    assert all(what in page and why in page for what, why in REMAINING)


def run(command: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """A shell's command, in which EDGEGD is the command line."""
    line = f"set -o pipefail; {command.replace('EDGEGD', f'{sys.executable} -m edgegd.cli.main')}"
    home = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120, env=home, cwd=tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_an_output_on_a_full_disk(tmp_path: Path) -> None:
    for command in ("EDGEGD target ls > /dev/full", "EDGEGD recipe ls --json > /dev/full"):
        done = run(command, tmp_path)
        assert done.returncode == NoSpaceError.exit_code and "no space is left" in done.stderr
        assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


def test_a_reader_that_ends_early(tmp_path: Path) -> None:
    (tmp_path / "edgegd").mkdir()
    many = "".join(f"board{n}: {{url: 'ssh://pi@{'x' * 200}{n}'}}\n" for n in range(1500))
    (tmp_path / "edgegd/targets.yaml").write_text(many)
    done = run("EDGEGD target ls | head -1", tmp_path)
    assert done.stdout.startswith("local") and done.returncode == OutputClosedError.exit_code, done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_streams_that_are_closed(closed: str, tmp_path: Path) -> None:
    assert run(f"EDGEGD target ls {closed}", tmp_path).returncode == 0
    assert run(f"EDGEGD target check nobody {closed}", tmp_path).returncode == 97
