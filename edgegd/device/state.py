"""What the states of a device before and after a block say: why the block must not count, and what else went on.

The states are those of the worker (`edgegd.device.latency_worker.device_state`); what a device does not tell is
not judged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

CLOCK_TOLERANCE_S = 0.05
"""Far above the microseconds between reading one clock and the next. NTP's slewing moves all of them alike."""

# Bits of the firmware's get_throttled: now, and 16 bits higher since the start (Raspberry Pi documentation, vcgencmd).
PI_FLAGS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}

State = Mapping[str, Any]


def faults(before: State, after: State) -> tuple[str, ...]:
    """Why a block between two device states must not count; empty for a sound one.

    A CPU limit or the temperature held the device back, or a clock jumped (so nobody knows how long the block took).
    """
    found = []
    if _grew(before, after, "cgroup_throttled_us"):
        found.append("throttled: cgroup")
    if pi := _pi_flags(before, after):
        found.append(f"throttled: Raspberry Pi ({', '.join(pi)})")
    if _grew(before, after, "throttle_count"):
        found.append("throttled: CPU")
    lengths = _lengths_s(before, after)
    jump_s = _clock_jump_s(lengths)
    if abs(jump_s) > CLOCK_TOLERANCE_S:
        found.append(f"clock jumped by {jump_s:+.2f} s")
    if not all(map(math.isfinite, lengths.values())):
        found.append("not a number")
    return tuple(found)


def other_cpu(pairs: Iterable[tuple[State, State]]) -> float | None:
    """Cores that other processes (and the hypervisor, by stealing) kept busy on average between the two states of each
    pair; None where unknown. Ticks are coarse: a single short block says little.
    """
    keys = ("busy_ticks", "own_ticks", "ticks_per_s")
    busy_s = length_s = 0.0
    for before, after in pairs:
        lengths = _lengths_s(before, after)
        if "monotonic" in lengths and not any(key not in state for key in keys for state in (before, after)):
            ticks = [after.get(key, 0) - before.get(key, 0) for key in ("busy_ticks", "steal_ticks", "own_ticks")]
            busy_s += (ticks[0] + ticks[1] - ticks[2]) / after["ticks_per_s"]
            length_s += lengths["monotonic"]
    return max(0.0, busy_s / length_s) if length_s > 0 else None


def describe(state: State) -> str:
    """A state in words: governor, frequencies, the hottest zone, load, and what a Raspberry Pi complains of."""
    words = []
    if "governor" in state:
        words.append(f"governor {state['governor']}")
    if megahertz := [khz / 1000 for khz in state.get("frequency_khz", ())]:
        low, high = min(megahertz), max(megahertz)
        words.append(f"{low:.0f} MHz" if round(low) == round(high) else f"{low:.0f} to {high:.0f} MHz")
    if temperatures := state.get("temperature_c"):
        zone = max(temperatures, key=lambda name: float(temperatures[name]))
        words.append(f"{temperatures[zone]:.1f} °C ({zone})")
    if "load1" in state:
        words.append(f"load {state['load1']:.2f}")
    words += [f"Raspberry Pi: {name}" for bit, name in PI_FLAGS.items() if state.get("throttled_flags", 0) >> bit & 1]
    return ", ".join(words) or "the device tells nothing"


def _grew(before: State, after: State, key: str) -> bool:
    return bool(key in before and key in after and after[key] > before[key])


def _pi_flags(before: State, after: State) -> list[str]:
    """What holds now at either moment, or has happened in between."""
    first, last = before.get("throttled_flags", 0), after.get("throttled_flags", 0)
    happened = (last & ~first) >> 16 if "throttled_flags" in before else 0
    return [name for bit, name in PI_FLAGS.items() if (first | last | happened) >> bit & 1]


def _lengths_s(before: State, after: State) -> dict[str, float]:
    """How long it took from one state to the other by each clock that both tell."""
    first, last = before.get("clocks_ns", {}), after.get("clocks_ns", {})
    return {clock: (last[clock] - first[clock]) / 1e9 for clock in last if clock in first}


def _clock_jump_s(lengths_s: Mapping[str, float]) -> float:
    """By how much a clock disagrees with the monotonic one, at the most (which a suspended machine stops)."""
    monotonic_s = lengths_s.get("monotonic", 0.0)
    if "monotonic" not in lengths_s or monotonic_s < 0:
        return monotonic_s
    return max((length_s - monotonic_s for length_s in lengths_s.values()), key=abs)
