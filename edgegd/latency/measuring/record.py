"""The raw data of a latency measurement, as it is stored: every sample, every device state, replayable.

A measurement is one file of JSON lines, appended to while it runs, so that whatever ends it leaves what was measured:

    {"kind": "header", "schema", "target", "design", "models", "started"}
    {"kind": "launch", "launch", "fingerprint", "workers"}      one fresh worker a model, configured and warmed up
    {"kind": "block", "launch", "quad", "place", "model", "first_ns", "durations_ns", "before", "after", "faults"}
    {"kind": "end", "reason"}                                   missing where the measurement was cut off: partial
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCHEMA = 1
UNSTABLE = "not stable after the warm-up"


@dataclass(frozen=True, kw_only=True)
class Design:
    """How a measurement is made; with the raw data it is all that a replay needs.

    Until `launches` launches can be used, each starts one fresh worker a model and runs `quads` quads. A quad visits
    the models in an order drawn by `seed` and then in the reverse of it (for two models ABBA or BAAB), one block of
    `block_s` seconds a visit.
    """

    launches: int
    quads: int
    block_s: float
    warmup_s: float
    threads: int
    spinning: bool
    optimization: str = "all"
    provider: str = "CPUExecutionProvider"
    seed: int = 0

    def order(self, models: Sequence[str], launch: int, quad: int) -> list[str]:
        """The models of a quad in the order of its blocks: every model twice."""
        generator = np.random.default_rng([self.seed, launch, quad])
        first = [models[i] for i in generator.permutation(len(models))]
        return first + first[::-1]


@dataclass(frozen=True)
class ModelFile:
    """A model that was measured: the file's name, its SHA-256 and its size."""

    file: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Launch:
    """The workers of one launch (model -> load_ms, inputs, session, warm_up, and peak_bytes after it, as the worker
    answered), and the device's fingerprint."""

    launch: int
    fingerprint: Mapping[str, Any]
    workers: Mapping[str, Mapping[str, Any]]

    @property
    def stable(self) -> bool:
        """Whether every worker's latency became stable in its warm-up; a launch where one did not has no blocks."""
        return all(worker["warm_up"]["stable"] for worker in self.workers.values())


@dataclass(frozen=True)
class Block:
    """Consecutive inferences of one model. The first, after idling, is told apart and never counts.

    `before` and `after` are device states as the worker reports them; `faults` say why the block must not count
    (throttled, clock jumped), and are empty for a sound one.
    """

    launch: int
    quad: int
    place: int
    model: str
    first_ns: int
    durations_ns: tuple[int, ...]
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    faults: tuple[str, ...] = ()

    @property
    def median_ms(self) -> float:
        """Median duration of the block's inferences, in ms."""
        return float(median(self.durations_ns)) / 1e6


@dataclass(frozen=True)
class Measurement:
    """What was measured on one target; `complete` is False where it was cut off. The first model is the reference."""

    target: str
    design: Design
    models: Mapping[str, ModelFile]
    launches: tuple[Launch, ...]
    blocks: tuple[Block, ...]
    complete: bool
    started: str = ""

    def quads(self) -> dict[tuple[int, int], list[Block]]:
        """The blocks of every quad that was run to its end, by (launch, quad)."""
        gathered: dict[tuple[int, int], list[Block]] = {}
        for block in self.blocks:
            gathered.setdefault((block.launch, block.quad), []).append(block)
        return {key: blocks for key, blocks in gathered.items() if len(blocks) == 2 * len(self.models)}

    def discarded(self) -> dict[tuple[int, int], tuple[str, ...]]:
        """The quads that must not count, and why: a fault in any of their blocks, or a launch that was not stable."""
        found = {
            key: tuple(sorted({fault for block in blocks for fault in block.faults}))
            for key, blocks in self.quads().items()
        }
        found |= {
            (launch.launch, quad): (UNSTABLE,)
            for launch in self.launches
            if not launch.stable
            for quad in range(self.design.quads)
        }
        return {key: faults for key, faults in found.items() if faults}

    def planned_quads(self) -> int:
        """How many quads were run or given up: what a share of discarded ones is a share of."""
        return len(self.quads().keys() | self.discarded().keys())

    def medians_ms(self) -> dict[str, float]:
        """Model -> median latency in ms over its blocks in quads that count; empty where there are none."""
        discarded = self.discarded()
        durations: dict[str, list[int]] = {}
        for key, blocks in self.quads().items():
            if key not in discarded:
                for block in blocks:
                    durations.setdefault(block.model, []).extend(block.durations_ns)
        return {model: float(np.median(ns)) / 1e6 for model, ns in durations.items()}

    def log_ratios(self, model: str) -> dict[int, NDArray[np.float64]]:
        """launch -> (quads,) log(median ms of `model` / that of the reference), without discarded quads.

        Only launches all of whose quads were run; above 0 means slower than the reference.
        """
        reference, discarded = next(iter(self.models)), self.discarded()
        ratios: dict[int, list[float]] = {}
        run: dict[int, int] = {}
        for (launch, quad), blocks in self.quads().items():
            run[launch] = run.get(launch, 0) + 1
            if (launch, quad) in discarded:
                continue
            mean = {
                name: np.mean([np.log(b.median_ms) for b in blocks if b.model == name]) for name in (model, reference)
            }
            ratios.setdefault(launch, []).append(float(mean[model] - mean[reference]))
        return {
            launch: np.array(values) for launch, values in sorted(ratios.items()) if run[launch] == self.design.quads
        }

    def launch_ratios(self, model: str) -> NDArray[np.float64]:
        """(launches,) the median log ratio of each launch's quads: one independent observation a launch."""
        return np.array([np.median(values) for values in self.log_ratios(model).values()])
