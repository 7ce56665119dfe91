"""Runs the commands that make a row's files, and records how long each took and how much memory it held."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers.comparison_sets import ROOT
from peers.rows import Steps

ENVIRONMENT = {"PYTHONPATH": str(ROOT), "YOLO_AUTOINSTALL": "false"}


class StepFailedError(Exception):
    """A command ended with another status than 0; `str` names it and its log."""


def measured(command: Sequence[str], log: Path, more: dict[str, str] | None = None) -> dict[str, Any]:
    """Runs a command with its output appended to `log`; returns `seconds` (wall clock),
    `cpu_seconds` and `peak_mb` (resident).

    The memory is that of the largest process among the command and its children, as the kernel counts it (wait4); it
    is never less than this process's own, which the kernel counts until the command is loaded.
    Raises StepFailedError.
    """
    start = time.monotonic()
    with log.open("a") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, cwd=ROOT, env=os.environ | ENVIRONMENT | (more or {})
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise StepFailedError(f"{' '.join(command)}\nended with exit code {process.returncode}; its output is in {log}")
    kib = usage.ru_maxrss / 1024 if sys.platform == "darwin" else usage.ru_maxrss
    return {
        "seconds": round(time.monotonic() - start, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mb": round(kib / 1024),
    }


def make(steps: Steps, folder: Path) -> dict[str, dict[str, Any]]:
    """Runs the steps that are not done; returns seconds, memory and command of each, from steps.json beside `folder`.

    A step that was killed starts again, or goes on where it can; it then counts as `interrupted`, since its seconds are
    those of the last try.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    record = folder.with_name(folder.name + ".steps.json")
    done: dict[str, dict[str, Any]] = json.loads(record.read_text()) if record.exists() else {}
    for name, command in steps:
        earlier = done.get(name, {})
        if "seconds" in earlier and earlier["command"] == command:
            continue
        begun = {"command": command, "interrupted": bool(earlier) and "seconds" not in earlier}
        _write(record, done | {name: begun})
        done[name] = begun | measured(command, folder.with_name(folder.name + ".log"))
        _write(record, done)
    return done


def _write(path: Path, content: Any) -> None:
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(temporary, path)
