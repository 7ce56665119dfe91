"""What two states of a device say about the block between them."""

from __future__ import annotations

import math
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edgegd.device.state import describe, faults, other_cpu
from edgegd.latency.measuring.record import Design
from edgegd.targets.process import WorkerProcess
from edgegd.targets.worker_protocol import WORKER_FILE, ask, configure

QUIET: dict[str, Any] = {
    "clocks_ns": {"monotonic": 1_000_000_000, "boottime": 5_000_000_000, "wall": 9_000_000_000},
    "throttled_flags": 0,
    "throttle_count": 5,
    "cgroup_throttled_us": 70,
    "busy_ticks": 100,
    "own_ticks": 10,
    "steal_ticks": 3,
    "ticks_per_s": 100,
}


def later(seconds: float = 2.0, **changes: Any) -> dict[str, Any]:
    """QUIET, `seconds` later by every clock, with these values; `boottime` and `wall` are seconds to add."""
    jumps = {clock: changes.pop(clock, 0.0) for clock in ("boottime", "wall")}
    clocks = {clock: ns + round((seconds + jumps.get(clock, 0.0)) * 1e9) for clock, ns in QUIET["clocks_ns"].items()}
    return {**QUIET, "clocks_ns": clocks, **changes}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, ()),
        ({"cgroup_throttled_us": 71}, ("throttled: cgroup",)),
        ({"throttle_count": 6}, ("throttled: CPU",)),
        ({"throttled_flags": 0x5}, ("throttled: Raspberry Pi (under-voltage, throttled)",)),
        ({"throttled_flags": 0x20000}, ("throttled: Raspberry Pi (frequency capped)",)),
        ({"throttled_flags": 0x80008}, ("throttled: Raspberry Pi (soft temperature limit)",)),
        ({"wall": 0.06}, ("clock jumped by +0.06 s",)),
        ({"wall": -3600}, ("clock jumped by -3600.00 s",)),
        ({"boottime": 12.5}, ("clock jumped by +12.50 s",)),
        ({"wall": 0.04, "boottime": -0.04}, ()),
        ({"seconds": -1.0}, ("clock jumped by -1.00 s",)),
        ({"throttle_count": 9, "wall": 1.0}, ("throttled: CPU", "clock jumped by +1.00 s")),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_faults(changes: dict[str, Any], found: tuple[str, ...]) -> None:
    assert faults(QUIET, later(**changes)) == found


def test_what_a_raspberry_pi_has_long_behind_it_is_no_fault() -> None:
    behind = {"throttled_flags": 0x50000}
    assert faults({**QUIET, **behind}, later(**behind)) == ()
    assert faults({**QUIET, "throttled_flags": 0x50005}, later(**behind)) == (
        "throttled: Raspberry Pi (under-voltage, throttled)",
    ), "it still held when the block began"


def test_a_clock_that_is_no_number_is_a_fault() -> None:
    broken = later()
    broken["clocks_ns"]["wall"] = math.nan
    assert faults(QUIET, broken) == ("not a number",)


def test_what_a_device_does_not_tell_is_not_judged() -> None:
    assert faults({}, {}) == () and faults({}, later()) == () and faults(QUIET, {}) == ()


def test_other_processes() -> None:
    busy, idle = later(busy_ticks=500, own_ticks=210, steal_ticks=23), later(busy_ticks=100, own_ticks=12)
    assert other_cpu([(QUIET, busy)]) == pytest.approx(1.1)
    assert other_cpu([(QUIET, idle)]) == 0.0, "ticks are coarse"
    assert other_cpu([(QUIET, busy), (QUIET, idle)]) == pytest.approx(0.545)
    assert other_cpu([({}, {})]) is None and other_cpu([]) is None


def test_description() -> None:
    state = {
        "governor": "ondemand",
        "frequency_khz": [600_000, 2_400_000],
        "load1": 0.5,
        "throttled_flags": 0x50001,
        "temperature_c": {"gpu": 40.0, "cpu": 61.25},
    }
    assert describe(state) == (
        "governor ondemand, 600 to 2400 MHz, 61.2 °C (cpu), load 0.50, Raspberry Pi: under-voltage"
    )
    assert describe({"frequency_khz": [1_500_000, 1_500_000]}) == "1500 MHz"
    assert describe({}) == "the device tells nothing"


def test_a_clock_that_jumps_in_a_real_worker(make_model: Any, tmp_path: Path) -> None:
    jumping = tmp_path / "jumping.py"
    jumping.write_text(
        f"import importlib.util, time\nspec = importlib.util.spec_from_file_location('worker', {str(WORKER_FILE)!r})\n"
        "worker = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(worker)\n"
        "true, calls = time.time_ns, []\n"
        "time.time_ns = lambda: true() + 3_600_000_000_000 * (calls.append(1) or len(calls) > 1)\nworker.main()\n"
    )
    with closing(WorkerProcess([sys.executable, str(jumping)])) as worker:
        configure(
            worker,
            str(make_model("jumping")),
            Design(launches=1, quads=1, block_s=0.02, warmup_s=0.1, threads=1, spinning=False),
        )
        first, second = ask(worker, {"run": 0.02}, 0), ask(worker, {"run": 0.02}, 0)
    assert faults(first["before"], first["after"]) == ("clock jumped by +3600.00 s",)
    assert faults(second["before"], second["after"]) == ()
