"""Statistics of synthetic durations; the oracle is numpy, written out for each model."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgegd.latency.measuring.record import Block, Design, Launch, Measurement, ModelFile
from edgegd.latency.measuring.result import LatencyResult, ModelLatency, speedup, summarize
from edgegd.recipe.schema import LatencySection

LAUNCHES, BLOCKS, INFERENCES = 3, 4, 50


def synthetic_blocks(scale: dict[str, float], noise: float) -> list[Block]:
    """Blocks whose machine drifts by up to 2x, alike for all models; model durations differ by `scale`."""
    generator = np.random.default_rng(3)
    blocks: list[Block] = []
    for launch in range(LAUNCHES):
        for block in range(BLOCKS):
            drift = generator.uniform(1, 2)
            for model, factor in scale.items():
                durations = 1e7 * drift * factor * generator.lognormal(0, noise, INFERENCES)
                blocks.append(Block(launch, block, len(blocks), model, 1, tuple(int(d) for d in durations)))
    return blocks


def measured(blocks: list[Block], sha256: dict[str, str], stable: bool = True) -> LatencyResult:
    design = Design(launches=LAUNCHES, quads=BLOCKS // 2, block_s=0.1, warmup_s=0.1, threads=1, spinning=False)
    launches = tuple(Launch(i, {"cpu": "x"}, {m: {"warm_up": {"stable": stable}} for m in sha256}) for i in range(3))
    files = {name: ModelFile(f"{name}.onnx", digest, 1) for name, digest in sha256.items()}
    measurement = Measurement("local", design, files, launches, tuple(blocks), True)
    return summarize(measurement, LatencySection(launches=LAUNCHES, quads=BLOCKS // 2))


def latencies(blocks: list[Block], sha256: dict[str, str]) -> dict[str, ModelLatency]:
    return measured(blocks, sha256).models


def test_percentiles_and_count_are_numpys_over_all_inferences() -> None:
    blocks = synthetic_blocks({"fp32": 1.0, "qat": 0.5}, noise=0.2)
    latency = latencies(blocks, {"fp32": "a", "qat": "b"})["qat"]
    every_ms = np.array([d for b in blocks if b.model == "qat" for d in b.durations_ns]) / 1e6
    assert latency.samples == LAUNCHES * BLOCKS * INFERENCES and latency.model_sha256 == "b"
    assert latency.median_ms == pytest.approx(np.median(every_ms), rel=1e-12)
    assert latency.p90_ms == pytest.approx(np.quantile(every_ms, 0.9), rel=1e-12)
    assert latency.p99_ms == pytest.approx(np.quantile(every_ms, 0.99), rel=1e-12)


def test_paired_ratio_cancels_the_drift_of_the_machine() -> None:
    blocks = synthetic_blocks({"fp32": 1.0, "ptq": 0.8, "qat": 0.5}, noise=1e-4)
    of = latencies(blocks, {"fp32": "", "ptq": "", "qat": ""})
    assert of["qat"].speedup == pytest.approx(2.0, rel=1e-3)
    assert of["ptq"].speedup == pytest.approx(1.25, rel=1e-3)
    assert 1.99 < of["qat"].speedup_low <= 2.0 <= of["qat"].speedup_high < 2.01


def test_the_reference_has_speedup_one_exactly() -> None:
    reference = latencies(synthetic_blocks({"fp32": 1.0, "qat": 0.5}, 0.2), {"fp32": "", "qat": ""})["fp32"]
    assert (reference.speedup, reference.speedup_low, reference.speedup_high) == (1.0, 1.0, 1.0)


def test_speedup_is_the_exponential_of_the_median_log_ratio() -> None:
    log_ratios = np.log(np.array([[1.0, 2.0, 4.0], [1.5, 3.0, 8.0]]))
    value, low, high = speedup(log_ratios)
    assert value == pytest.approx(np.sqrt(2.0 * 3.0))
    assert 1.0 <= low < value < high <= 8.0
    assert speedup(log_ratios) == (value, low, high), "the bootstrap is seeded"


def test_interval_reflects_variation_between_launches_not_only_blocks() -> None:
    generator = np.random.default_rng(0)
    between = np.repeat(generator.normal(0, 0.1, (5, 1)), 40, axis=1)  # blocks of a launch agree, launches do not
    within = generator.permutation(between.ravel()).reshape(5, 40)  # the same numbers, spread over the launches
    widths = {name: np.subtract(*speedup(table)[:0:-1]) for name, table in (("between", between), ("within", within))}
    assert widths["between"] > 2 * widths["within"]


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(60):
        low, high = speedup(0.3 + generator.normal(0, 0.05, (15, 1)) + generator.normal(0, 0.02, (15, 6)))[1:]
        covered += low <= np.exp(0.3) <= high
    assert covered >= 51


def test_json_keeps_the_blocks_in_order() -> None:
    blocks = synthetic_blocks({"fp32": 1.0, "qat": 0.5}, noise=0.1)
    result = measured(blocks, {"fp32": "a", "qat": "b"})
    document = json.loads(json.dumps(result.to_json()))
    assert document["reference"] == "fp32" and document["settings"]["threads"] == 1 and document["stable"] is True
    assert [b["model"] for b in document["blocks"][:4]] == ["fp32", "qat", "fp32", "qat"]
    assert document["blocks"][5]["median_ms"] == pytest.approx(np.median(blocks[5].durations_ns) / 1e6)
    assert document["models"]["qat"]["speedup"] == result.models["qat"].speedup
