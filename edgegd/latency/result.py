"""What a latency measurement yields, and the statistics that turn raw durations into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegd.recipe.schema import LatencySection

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Block:
    """One block: consecutive inferences of one model in one launch. `position` counts all blocks as they were run."""

    position: int
    launch: int
    block: int
    model: str
    durations_ns: tuple[int, ...]

    @property
    def median_ms(self) -> float:
        """Median duration of the block's inferences, in ms."""
        return float(np.median(self.durations_ns)) / 1e6


@dataclass(frozen=True)
class ModelLatency:
    """Latency of one model; percentiles in ms over every inference, speedup with its 95 % confidence interval."""

    median_ms: float
    p90_ms: float
    p99_ms: float
    samples: int
    speedup_vs_fp32: float
    speedup_low: float
    speedup_high: float
    model_sha256: str


@dataclass(frozen=True)
class LatencyResult:
    """A paired measurement: the models in the order given, of which the first is the reference of every speedup.

    `stable` tells whether every worker's warm-up became stable. `blocks` are in the order in which they were run.
    """

    target: str
    models: dict[str, ModelLatency]
    settings: LatencySection
    fingerprint: dict[str, Any]
    stable: bool
    blocks: tuple[Block, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict; of each block the median in ms and the count are kept, not the single durations."""
        blocks = [{"launch": b.launch, "block": b.block, "model": b.model, "median_ms": b.median_ms,
                   "inferences": len(b.durations_ns)} for b in self.blocks]
        return {
            "schema": 1,
            "target": self.target,
            "reference": next(iter(self.models)),
            "models": {name: asdict(latency) for name, latency in self.models.items()},
            "settings": asdict(self.settings),
            "fingerprint": self.fingerprint,
            "stable": self.stable,
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


def summarize(blocks: Sequence[Block], sha256: dict[str, str]) -> dict[str, ModelLatency]:
    """The latency of each model of `sha256` (name -> hash; the first is the reference) from complete launches."""
    medians = {name: _block_medians(blocks, name) for name in sha256}
    reference = next(iter(medians.values()))
    latencies = {}
    for name, model_sha256 in sha256.items():
        durations_ms = np.concatenate([b.durations_ns for b in blocks if b.model == name]) / 1e6
        median, p90, p99 = np.percentile(durations_ms, [50, 90, 99])
        ratio, low, high = speedup(np.log(reference / medians[name]))
        latencies[name] = ModelLatency(float(median), float(p90), float(p99), len(durations_ms), ratio, low, high,
                                       model_sha256)
    return latencies


def _block_medians(blocks: Sequence[Block], model: str) -> NDArray[np.float64]:
    """(launches, blocks) medians in ms of one model."""
    own = [b for b in blocks if b.model == model]
    table = np.empty((1 + max(b.launch for b in own), 1 + max(b.block for b in own)))
    for b in own:
        table[b.launch, b.block] = b.median_ms
    return table
