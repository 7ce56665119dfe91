"""What a device may answer: one description for every message of a worker (latency, tensors) and of the lock's keeper.

A device is not trusted. It may be broken, run another program, or lie: an answer is looked at whole (types, finite
numbers, plausible ranges, lengths) before anything of it is used, and what is wrong with it is said with the device's
name. Keys that are not described are let through: a later worker may tell more.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from edgegd.errors import WorkerError
from edgegd.foreign_text import one_line
from edgegd.limits import MESSAGE_BYTES

Check = Callable[[Any, str], None]
"""check(value, where): raises _Wrong unless the value is as described."""

FAULTS = ("model", "hash", "onnxruntime", "runtime", "protocol", "space", "worker")
"""What a worker may say that its failure is about."""
HOUR_NS = 3_600_000_000_000
"""Longer than any single inference."""
_SHOWN = 80


class _Wrong(Exception):
    """What is wrong with an answer: where, what was expected, the value."""

    def __init__(self, where: str, expected: str, value: Any) -> None:
        super().__init__(where)
        self.where, self.expected, self.value = where or "the answer", expected, value


def check_answer(kind: str, answer: Mapping[str, Any], device: str) -> None:
    """Raises WorkerError that names the device unless `answer` is one to the message `kind`.

    Kinds: hello, configure, warm_up, run, burst, concurrent, paced, memory, profile, runtime, outputs
    (edgegd.device.latency_worker);
    open, compute, values, done (edgegd.device.tensor_worker); lock, unlock (edgegd.device.lock_keeper); error (any).
    """
    try:
        ANSWERS[kind](answer, "")
    except _Wrong as wrong:
        is_sample = wrong.where.startswith(("first_ns", "durations_ns"))
        what = f"gave an answer to `{kind}` that cannot be true"
        if is_sample:
            what = "returned samples that are no durations"
        raise WorkerError(
            f"{device} {what}.",
            expected=f"{wrong.where}: {wrong.expected}",
            found=one_line(repr(wrong.value)[: 2 * _SHOWN], _SHOWN),
            mend="look for a broken clock, another program or a changed worker on the device",
        ) from None


def problem_of(check: Check, value: Any) -> str:
    """What is wrong with a value that is not as described, as a sentence; empty where nothing is."""
    try:
        check(value, "")
    except _Wrong as wrong:
        return f"{wrong.where}: expected {wrong.expected}, found {one_line(repr(wrong.value)[: 2 * _SHOWN], _SHOWN)}"
    return ""


def device_of(worker: Any) -> str:
    """The name of the device that a worker runs on, for messages."""
    name = one_line(getattr(worker, "device", "") or "the device")
    return name[:1].upper() + name[1:]


def whole(low: int, high: int) -> Check:
    """A whole number from `low` to `high`; true and false are none."""

    def check(value: Any, where: str) -> None:
        if type(value) is not int or not low <= value <= high:
            raise _Wrong(where, f"a whole number from {low} to {high}", value)

    return check


def number(low: float, high: float) -> Check:
    """A finite number from `low` to `high`."""

    def check(value: Any, where: str) -> None:
        if type(value) not in (int, float) or not math.isfinite(value) or not low <= value <= high:
            raise _Wrong(where, f"a number from {low:g} to {high:g}", value)

    return check


def text(longest: int, pattern: str = r"(?s).*") -> Check:
    """Text of at most `longest` characters that can be written as UTF-8 and fits `pattern`."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or len(value) > longest:
            raise _Wrong(where, f"text of at most {longest} characters", value)
        if not re.fullmatch(pattern, value) or any("\ud800" <= char <= "\udfff" for char in value):
            raise _Wrong(where, f"text like {pattern}" if pattern != r"(?s).*" else "whole characters", value)

    return check


def one_of(*values: Any) -> Check:
    """Exactly one of these values, and of its type."""

    def check(value: Any, where: str) -> None:
        if not any(type(value) is type(known) and value == known for known in values):
            raise _Wrong(where, f"one of {', '.join(map(repr, values))}", value)

    return check


def or_none(check_other: Check) -> Check:
    """null, or as described."""

    def check(value: Any, where: str) -> None:
        if value is not None:
            check_other(value, where)

    return check


def many(check_one: Check, least: int, most: int) -> Check:
    """A list of `least` to `most` values as described."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, list) or not least <= len(value) <= most:
            found = f"a list of {len(value)}" if isinstance(value, list) else value
            raise _Wrong(where, f"a list of {least} to {most} values", found)
        for place, one in enumerate(value):
            check_one(one, f"{where}[{place}]")

    return check


def by_name(check_one: Check, most: int) -> Check:
    """An object of at most `most` names, whose values are as described."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, Mapping) or len(value) > most:
            raise _Wrong(where, f"an object of at most {most} names", value)
        for name, one in value.items():
            _NAME(name, f"a name in {where}")
            check_one(one, f"{where}.{one_line(name, _SHOWN)}")

    return check


def record(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """An object with these keys."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise _Wrong(where, f"an object with {', '.join(required) or 'keys'}", value)
        for key, check_one in {**required, **(optional or {})}.items():
            inside = f"{where}.{key}" if where else key
            if key in value:
                check_one(value[key], inside)
            elif key in required:
                raise _Wrong(inside, "this key", list(value)[:20])

    return check


_BASE64 = text(MESSAGE_BYTES, r"[A-Za-z0-9+/]*={0,2}")
_NAME, _WORDS, _LONG = text(1000), text(10_000), text(4_000_000)
_BOOL = one_of(True, False)
_MS = number(0, HOUR_NS / 1e6)
_DURATION = whole(1, HOUR_NS)
_CLOCK = whole(0, 1 << 63)
_COUNT = whole(0, 1 << 63)
_CORES = 100_000
_CPU_NS = whole(0, 24 * HOUR_NS * _CORES)
_VERSION = text(100, r"[\w.+~!-]+")
_SHA256 = text(64, r"[0-9a-f]{64}")
_TENSOR = many(lambda value, where: (_NAME if isinstance(value, str) else whole(0, 1 << 40))(value, where), 1, 20)


def _shape(value: Any, where: str) -> None:
    """[element type, *sides]: the type is text, and nothing else."""
    _TENSOR(value, where)
    _NAME(value[0], f"{where}[0]")
    for place, side in enumerate(value[1:], 1):
        whole(0, 1 << 40)(side, f"{where}[{place}]")


STATE = record(
    {"clocks_ns": record({"monotonic": _CLOCK}, {"boottime": _CLOCK, "wall": _CLOCK})},
    {
        "frequency_khz": many(whole(0, 1_000_000_000), 0, _CORES),
        "temperature_c": by_name(number(-273.15, 1000), 1000),
        "governor": _NAME,
        "throttled_flags": whole(0, (1 << 64) - 1),
        "throttle_count": _COUNT,
        "cgroup_throttled_us": _COUNT,
        "load1": number(0, 1e6),
        "busy_ticks": _COUNT,
        "steal_ticks": _COUNT,
        "own_ticks": _COUNT,
        "ticks_per_s": whole(1, 1_000_000),
    },
)
MACHINE = record(
    {
        "cpuinfo": _LONG,
        "architecture": _NAME,
        "kernel": _NAME,
        "logical_cores": whole(1, _CORES),
        "usable_cores": whole(1, _CORES),
        "core_mask": many(whole(0, _CORES), 1, _CORES),
        "governor": _NAME,
        "python": _VERSION,
        "max_frequency_khz": text(20, r"[0-9]*"),
        "onnxruntime_build": or_none(_WORDS),
        "numpy": or_none(_VERSION),
        "onnxruntime": or_none(_VERSION),
    },
    {
        "core_speeds": many(
            record({"core": whole(0, _CORES)}, {"capacity": _COUNT, "max_frequency_khz": whole(0, 1_000_000_000)}),
            0,
            _CORES,
        )
    },
)
_NODE = record(
    {
        "op_type": _NAME,
        "name": _WORDS,
        "provider": _NAME,
        "median_us": number(0, HOUR_NS / 1e3),
        "inputs": many(_shape, 0, 10_000),
        "outputs": many(_shape, 1, 10_000),
    }
)

_PROFILE = record(
    {"nodes": many(_NODE, 1, 1_000_000), "run_us": number(1e-3, HOUR_NS / 1e3), "plain_us": number(1e-3, HOUR_NS / 1e3)}
)
# Very generous: between two medians a machine may be given to somebody else, and a profile makes short nodes longer.
_NODES_TO_RUN, _PLAIN_TO_RUN, _RUN_TO_PLAIN = 100, 1000, 1000

_BLOCK = record(
    {"first_ns": _DURATION, "durations_ns": many(_DURATION, 1, 50_000_000), "before": STATE, "after": STATE}
)

_CONCURRENT = record(
    {
        "counts": many(whole(1, 1 << 40), 1, _CORES),
        "walls_ns": many(_DURATION, 1, _CORES),
        "cpu_ns": _CPU_NS,
        "before": STATE,
        "after": STATE,
    }
)


def _block(value: Any, where: str) -> None:
    """A block, whose inferences cannot have taken longer than it took by the device's own clock."""
    _BLOCK(value, where)
    before_ns, after_ns = (value[key]["clocks_ns"]["monotonic"] for key in ("before", "after"))
    inside_ns = value["first_ns"] + sum(value["durations_ns"])
    if before_ns < after_ns < before_ns + inside_ns:  # a clock that stands still or goes back is told as a fault
        raise _Wrong("durations_ns", f"at most {after_ns - before_ns} ns, which the block took", inside_ns)


def _concurrent(value: Any, where: str) -> None:
    """Callers of one session, none of whom can have been longer at it than it took by the device's own clock."""
    _CONCURRENT(value, where)
    before_ns, after_ns = (value[key]["clocks_ns"]["monotonic"] for key in ("before", "after"))
    if before_ns < after_ns < before_ns + max(value["walls_ns"]):
        raise _Wrong("walls_ns", f"at most {after_ns - before_ns} ns, which it took", max(value["walls_ns"]))


def _profile(value: Any, where: str) -> None:
    """A profile, whose nodes run one after the other within a run, and whose run is that of the file alone."""
    _PROFILE(value, where)
    run_us, nodes_us = value["run_us"], sum(node["median_us"] for node in value["nodes"])
    if nodes_us > _NODES_TO_RUN * run_us:
        raise _Wrong("nodes", f"median_us of {_NODES_TO_RUN * run_us:g} us together, for a run of {run_us:g}", nodes_us)
    number(run_us / _RUN_TO_PLAIN, run_us * _PLAIN_TO_RUN)(value["plain_us"], "plain_us")


ANSWERS: dict[str, Check] = {
    "hello": record(
        {"protocol": whole(0, 1000), "machine": MACHINE, "state": STATE, "free_bytes": _COUNT},
        {"pid": whole(1, 1 << 31)},
    ),
    "configure": record(
        {
            "protocol": whole(0, 1000),
            "load_ms": _MS,
            "machine": MACHINE,
            "inputs": by_name(_shape, 1000),
            "session": record(
                {"threads": whole(0, 100_000), "spinning": _BOOL, "providers": many(_NAME, 1, 100)},
                {
                    "optimization": _NAME,
                    "execution_mode": _NAME,
                    "inter_op_threads": whole(0, 100_000),
                    "entries": by_name(_NAME, 100),
                },
            ),
        },
        {"model_sha256": _SHA256, "ready": one_of(True)},
    ),
    "warm_up": record(
        {"stable": _BOOL},
        {
            "seconds": number(0, 100_000),
            "inferences": whole(1, 1 << 40),
            "window_medians_ms": many(number(1e-6, HOUR_NS / 1e6), 0, 1_000_000),
        },
    ),
    "run": _block,
    "concurrent": _concurrent,
    "paced": record(
        {
            "durations_ns": many(_DURATION, 1, 1_000_000),
            "idle_wall_ns": whole(1, 24 * HOUR_NS),
            "idle_cpu_ns": _CPU_NS,
            "cpu_ns": _CPU_NS,
        }
    ),
    "burst": record({"durations_ns": many(_DURATION, 1, 50_000_000)}),
    "memory": record({"peak_bytes": whole(1, 1 << 50)}),
    "runtime": record({"version": _VERSION}),
    "outputs": record({"shape": many(whole(1, 1 << 40), 3, 3)}),
    "profile": _profile,
    "open": record({"opened": one_of(True), "onnxruntime": _VERSION}),
    "compute": record(
        {
            "computed": _BOOL,
            "tensors": by_name(
                record(
                    {
                        "sha256": _SHA256,
                        "dtype": one_of("uint8", "float32"),
                        "shape": many(whole(0, 1 << 40), 0, 20),
                    }
                ),
                100_000,
            ),
        }
    ),
    "values": record(
        {"values": by_name(record({"data": _BASE64, "columns": or_none(_BASE64)}), 100_000)},
    ),
    "done": record({"done": one_of(True)}),
    "lock": lambda value, where: record(
        *(({"held_by": _WORDS},) if "held_by" in value else ({"locked": one_of(True)},))
    )(value, where),
    "unlock": record({"locked": one_of(False)}),
    "error": record({"error": _LONG}, {"about": one_of(*FAULTS)}),
}
