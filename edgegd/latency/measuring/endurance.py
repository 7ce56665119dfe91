"""Cold burst and sustained latency: two other questions than the warm latency that gates compare.

A burst is what a user meets who starts the program for one picture: the first inferences of a fresh process. Sustained
latency is what a device keeps up once it is as hot as it gets.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from edgegd.device.state import faults
from edgegd.latency.measuring.launch import deliver
from edgegd.latency.measuring.record import Design
from edgegd.targets.base import Target
from edgegd.targets.worker_protocol import WORKER_FILE, ask, configure

STEADY_WINDOW_S = 60.0  # the temperature counts as steady when it stayed within STEADY_C for so long
STEADY_C = 1.0
_MODEL = "model"


@dataclass(frozen=True)
class Burst:
    """Of each launch: the time to load the model and the durations of the first inferences, in ms, not warmed up, and
    the most memory that its process had resident until then."""

    target: str
    load_ms: tuple[float, ...]
    durations_ms: tuple[tuple[float, ...], ...]
    peak_bytes: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict of every field, and the medians over the launches."""
        return asdict(self) | {
            "median_load_ms": median(self.load_ms),
            "median_ms": [median(column) for column in zip(*self.durations_ms, strict=True)],
        }


@dataclass(frozen=True)
class SustainedBlock:
    """One block: seconds since the first began, median latency in ms, the hottest zone in Celsius, the slowest core's
    frequency in MHz (None where the device tells neither), and what was throttled."""

    at_s: float
    median_ms: float
    temperature_c: float | None
    frequency_mhz: float | None
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Sustained:
    """Blocks one after the other until the temperature was steady (`steady`) or the time was up.

    `first_ms` and `last_ms` are medians over the blocks of the first and the last tenth.
    """

    target: str
    steady: bool
    blocks: tuple[SustainedBlock, ...]

    @property
    def first_ms(self) -> float:
        """Median latency at the start, in ms."""
        return median(block.median_ms for block in self.blocks[: max(1, len(self.blocks) // 10)])

    @property
    def last_ms(self) -> float:
        """Median latency at the end, in ms."""
        return median(block.median_ms for block in self.blocks[-max(1, len(self.blocks) // 10) :])

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict of every field, with both medians."""
        return asdict(self) | {"first_ms": self.first_ms, "last_ms": self.last_ms}


def measure_burst(model: Path, design: Design, target: Target, inferences: int = 10) -> Burst:
    """The first `inferences` of `design.launches` fresh processes; errors as `run_launch`."""
    loads: list[float] = []
    durations: list[tuple[float, ...]] = []
    peaks: list[int] = []
    with target.lock():
        delivered = deliver({_MODEL: model}, target)
        for _ in range(design.launches):
            with closing(target.start_worker(WORKER_FILE)) as worker:
                ready = configure(worker, delivered.paths[_MODEL], design, delivered.files[_MODEL].sha256)
                answer = ask(worker, {"burst": inferences}, 0)
                peaks.append(ask(worker, {"memory": True}, 0)["peak_bytes"])
            loads.append(ready["load_ms"])
            durations.append(tuple(ns / 1e6 for ns in answer["durations_ns"]))
    return Burst(target.name, tuple(loads), tuple(durations), tuple(peaks))


def measure_sustained(
    model: Path,
    design: Design,
    target: Target,
    limit_s: float,
    progress: Callable[[SustainedBlock], None] = lambda block: None,
) -> Sustained:
    """One worker's blocks, without a pause, until the hottest zone stayed within 1 Celsius for 60 s, or `limit_s`.

    A device without thermal zones runs for `limit_s`, and is not steady. Errors as `run_launch`.
    """
    blocks: list[SustainedBlock] = []
    with target.lock():
        delivered = deliver({_MODEL: model}, target)
        with closing(target.start_worker(WORKER_FILE)) as worker:
            configure(worker, delivered.paths[_MODEL], design, delivered.files[_MODEL].sha256)
            start = time.monotonic()
            while time.monotonic() - start < limit_s and not is_steady(blocks):
                at_s = time.monotonic() - start
                answer = ask(worker, {"run": design.block_s}, design.block_s)
                after = answer["after"]
                hottest_c = max(after.get("temperature_c", {}).values(), default=None)
                slowest_mhz = min((khz / 1000 for khz in after.get("frequency_khz", ())), default=None)
                median_ms = median(answer["durations_ns"]) / 1e6
                blocks.append(SustainedBlock(at_s, median_ms, hottest_c, slowest_mhz, faults(answer["before"], after)))
                progress(blocks[-1])
    return Sustained(target.name, is_steady(blocks), tuple(blocks))


def is_steady(blocks: list[SustainedBlock]) -> bool:
    """Whether the temperature is known and stayed within 1 Celsius for the last 60 s."""
    if not blocks or blocks[-1].at_s - blocks[0].at_s < STEADY_WINDOW_S:
        return False
    window = [block.temperature_c for block in blocks if blocks[-1].at_s - block.at_s <= STEADY_WINDOW_S]
    known = [celsius for celsius in window if celsius is not None]
    return len(known) == len(window) and max(known) - min(known) <= STEADY_C
