"""What a latency measurement yields, and the statistics that turn raw durations into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegd.latency.measuring.record import Block, Measurement
from edgegd.recipe.schema import LatencySection

CONFIDENCE = 0.95
AS_GOOD = "FP32 is as good here"
"""What is said where no quantized file is shown to be faster than FP32 on a device."""
RESAMPLES = 2000


@dataclass(frozen=True)
class ModelLatency:
    """Latency of one model; percentiles in ms over every inference, speedup with its 95 % confidence interval."""

    median_ms: float
    p90_ms: float
    p99_ms: float
    samples: int
    speedup: float
    speedup_low: float
    speedup_high: float
    model_sha256: str

    @property
    def pays(self) -> bool:
        """Whether it is shown to be faster than the reference: the whole interval of its speedup lies above 1."""
        return self.speedup_low > 1


@dataclass(frozen=True)
class LatencyResult:
    """A paired measurement: the models in the order given, of which the first is the reference of every speedup.

    `stable` tells whether every worker's warm-up became stable, `faults` what was wrong with any block (throttled,
    ...). `blocks` are in the order in which they were run.
    """

    target: str
    models: dict[str, ModelLatency]
    settings: LatencySection
    fingerprint: dict[str, Any]
    stable: bool
    faults: tuple[str, ...]
    blocks: tuple[Block, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict; of each block the median in ms and the count are kept, not the single durations."""
        blocks = [
            {
                "launch": b.launch,
                "quad": b.quad,
                "model": b.model,
                "median_ms": b.median_ms,
                "inferences": len(b.durations_ns),
            }
            for b in self.blocks
        ]
        return {
            "schema": 1,
            "target": self.target,
            "reference": next(iter(self.models)),
            "models": {name: asdict(latency) for name, latency in self.models.items()},
            "settings": asdict(self.settings),
            "fingerprint": self.fingerprint,
            "stable": self.stable,
            "faults": self.faults,
            "blocks": blocks,
        }


def speedup(log_ratios: NDArray[np.float64], seed: int = 0) -> tuple[float, float, float]:
    """exp of the median log ratio, and its 95 % percentile bootstrap interval: (speedup, low, high).

    `log_ratios` is (launches, blocks): log(reference median / model median) of neighbouring blocks. The bootstrap
    resamples launches, then blocks within each (Davison and Hinkley, Bootstrap Methods, 1997, section 3.8), because
    blocks of one process resemble each other. With few launches the interval is too narrow; the latency laboratory
    replaces it by a rank test over many launches whose error rates are measured.
    """
    launches, blocks = log_ratios.shape
    generator = np.random.default_rng(seed)
    launch = generator.integers(0, launches, (RESAMPLES, launches, 1))
    block = generator.integers(0, blocks, (RESAMPLES, launches, blocks))
    medians = np.median(log_ratios[launch, block], axis=(1, 2))  # (resamples, launches, blocks) -> (resamples,)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(medians, [tail, 1 - tail])
    return float(np.exp(np.median(log_ratios))), float(np.exp(low)), float(np.exp(high))


def summarize(measurement: Measurement, settings: LatencySection) -> LatencyResult:
    """The latency of each model of a measurement all of whose launches were run to their end; every block counts."""
    blocks, files = measurement.blocks, measurement.models
    medians = {name: _block_medians(blocks, name) for name in files}
    reference = next(iter(medians.values()))
    latencies = {}
    for name, file in files.items():
        durations_ms = np.concatenate([b.durations_ns for b in blocks if b.model == name]) / 1e6
        median, p90, p99 = np.percentile(durations_ms, [50, 90, 99])
        ratio, low, high = speedup(np.log(reference / medians[name]))
        latencies[name] = ModelLatency(
            float(median), float(p90), float(p99), len(durations_ms), ratio, low, high, file.sha256
        )
    faults = tuple(sorted({fault for block in blocks for fault in block.faults}))
    stable = all(launch.stable for launch in measurement.launches)
    machine = dict(measurement.launches[0].fingerprint)
    return LatencyResult(measurement.target, latencies, settings, machine, stable, faults, blocks)


def _block_medians(blocks: Sequence[Block], model: str) -> NDArray[np.float64]:
    """(launches, blocks) medians in ms of one model, in the order in which they were run."""
    launches: dict[int, list[float]] = {}
    for block in blocks:
        if block.model == model:
            launches.setdefault(block.launch, []).append(block.median_ms)
    return np.array(list(launches.values()))
