"""What a device has of all that a measurement needs, as its own worker tells."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from edgegd.device import latency_worker as worker
from edgegd.device.state import describe
from edgegd.errors import DeviceBusyError, DeviceSoftwareError
from edgegd.targets.base import CheckItem, Target
from edgegd.targets.worker_protocol import ask

WORKER_FILE = Path(worker.__file__)
OLDEST_PYTHON = (3, 9)
NEEDED_BYTES = 100_000_000
CLOCK_TOLERANCE_S = 60.0
_ANSWER_S = 300.0  # importing onnxruntime on an emulated CPU


def examine(target: Target, install: str) -> tuple[CheckItem, ...]:
    """Everything there is and is not; `install` is the command that brings numpy and onnxruntime to the device.

    Raises the errors of a connection, ProtocolError for a worker of another version, and WorkerError where what the
    device answers cannot be true.
    """
    try:
        with closing(target.start_worker(WORKER_FILE)) as started:
            answer = ask(started, {"hello": worker.PROTOCOL}, _ANSWER_S)
    except DeviceSoftwareError as error:
        return (CheckItem("Python", error.found, "missing", error.mend),)
    return (
        *_software(answer["machine"], install),
        _space(answer["free_bytes"]),
        _lock(target),
        *_condition(answer["state"]),
    )


def require_software(machine: Mapping[str, Any], device: str) -> None:
    """DeviceSoftwareError where a machine, by its facts (latency_worker.machine_facts), lacks Python, numpy or
    onnxruntime, or has one that is too old."""
    missing = [item for item in _software(machine, "") if item.level == "missing"]
    if missing:
        needed = (("Python", OLDEST_PYTHON), ("numpy", (1,)), ("onnxruntime", worker.OLDEST_ONNXRUNTIME))
        raise DeviceSoftwareError(
            f"{device} lacks what a worker needs.",
            found="; ".join(f"{item.subject} {item.found}" for item in missing),
            expected=", ".join(f"{name} {'.'.join(map(str, oldest))} or later" for name, oldest in needed),
            mend="install them on the device; `edgegd target check` shows the command",
        )


def _software(machine: Mapping[str, Any], install: str) -> Iterator[CheckItem]:
    for subject, oldest, mend in (
        ("Python", OLDEST_PYTHON, "install a newer one there, and name it: edgegd target add ... --python PROGRAM"),
        ("numpy", (1,), install),
        ("onnxruntime", worker.OLDEST_ONNXRUNTIME, install),
    ):
        version = machine[subject.lower()]
        if version is None:
            yield CheckItem(subject, "not there, or it cannot be imported", "missing", mend)
        elif tuple(map(int, re.findall(r"\d+", version)[:2])) < oldest:
            needed = ".".join(map(str, oldest))
            yield CheckItem(subject, f"{version}; {needed} or later is needed", "missing", mend)
        else:
            yield CheckItem(subject, version)


def _space(free_bytes: int) -> CheckItem:
    found = f"{free_bytes / 1e9:.1f} GB free"
    if free_bytes >= NEEDED_BYTES:
        return CheckItem("space", found)
    return CheckItem("space", found, "missing", f"free {NEEDED_BYTES / 1e6:.0f} MB where models are stored")


def _lock(target: Target) -> CheckItem:
    try:
        with target.lock():
            return CheckItem("lock", "free")
    except DeviceBusyError as error:
        return CheckItem("lock", error.found, "note", error.mend)


def _condition(state: Mapping[str, Any]) -> Iterator[CheckItem]:
    wall_ns = state["clocks_ns"].get("wall")
    ahead_s = 0.0 if wall_ns is None else wall_ns / 1e9 - time.time()
    if wall_ns is None:
        yield CheckItem("clock", "the device does not say", "note")
    elif abs(ahead_s) <= CLOCK_TOLERANCE_S:
        yield CheckItem("clock", "as this machine's")
    else:
        side = "ahead of" if ahead_s > 0 else "behind"
        yield CheckItem(
            "clock",
            f"{abs(ahead_s):.0f} s {side} this machine's",
            "note",
            "dates will be wrong, latencies not: sudo timedatectl set-ntp true",
        )
    governor = state.get("governor")
    if governor is None or governor == "performance":
        yield CheckItem("governor", governor or "not readable, as in most virtual machines")
    else:
        yield CheckItem(
            "governor",
            governor,
            "note",
            "latencies vary less with: echo performance | sudo tee "
            "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
        )
    yield CheckItem("state", describe(state))
