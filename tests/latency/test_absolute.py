"""The absolute gate: its bounds against scipy.stats.quantile_test, its error rates against simulated launches."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from made_measurement import FINGERPRINT
from numpy.typing import NDArray
from scipy import stats

from edgegd.latency.gate.absolute import absolute_gate, bounds_ms, least_inferences, samples_ms
from edgegd.latency.measuring.record import Block, Design, Launch, Measurement, ModelFile
from edgegd.latency.statistics.verdict import AbsoluteGate
from edgegd.verdict import Verdict

Samples = NDArray[np.float64]


def measured(launches_ms: list[Samples], *, complete: bool = True, throttled: tuple[int, ...] = ()) -> Measurement:
    """A measurement of `model` alone, one quad a launch, whose two blocks share the launch's inferences."""
    blocks = [
        Block(
            launch,
            0,
            place,
            "model",
            1,
            tuple(int(value) for value in half * 1e6),
            faults=("throttled: CPU",) if launch in throttled else (),
        )
        for launch, ms in enumerate(launches_ms)
        for place, half in enumerate(np.array_split(ms, 2))
    ]
    launches = tuple(
        Launch(number, FINGERPRINT, {"model": {"warm_up": {"stable": True}}}) for number in range(len(launches_ms))
    )
    design = Design(launches=len(launches_ms), quads=1, block_s=0.2, warmup_s=5.0, threads=1, spinning=False)
    return Measurement("board", design, {"model": ModelFile("m.onnx", "a", 1)}, launches, tuple(blocks), complete)


def launches(count: int = 20, inferences: int = 200, between: float = 0.01, seed: int = 0) -> list[Samples]:
    """Around 10 ms; the p95 of a typical launch is 10.49 ms."""
    generator = np.random.default_rng(seed)
    levels = between * generator.standard_normal((count, 1))
    return list(10 * (1 + levels + 0.03 * generator.standard_normal((count, inferences))))


def gate(measurement: Measurement, limit_ms: float, quantile: float = 0.95) -> AbsoluteGate:
    return absolute_gate(measurement, "model", quantile, limit_ms)


@pytest.mark.skipif(not hasattr(stats, "quantile_test"), reason="this scipy has no quantile_test (1.11 and later)")
@pytest.mark.parametrize("count", [8, 14, 20, 31])
@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.004])
def test_over_launches_the_bounds_are_scipys_exact_ones_for_the_median(count: int, alpha: float) -> None:
    own = np.random.default_rng(count).lognormal(size=count)
    bounds = bounds_ms([np.full(100, value) for value in own], 0.9, alpha)
    for alternative, bound, side in (("greater", bounds[0], 0), ("less", bounds[1], 1)):
        exact = stats.quantile_test(own, p=0.5, alternative=alternative).confidence_interval(1 - alpha)
        assert bound == exact[side]


@pytest.mark.parametrize("quantile", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("inferences", [70, 160, 1000])
def test_within_a_launch_the_order_statistics_lie_beyond_the_quantile_in_half_of_all_cases(
    quantile: float, inferences: int
) -> None:
    """With one launch and alpha 1/2 the bounds are the launch's own; uniform samples have the quantile itself."""
    draws = np.random.default_rng(0).random((4000, inferences))
    below, above = np.array([bounds_ms([draw], quantile, 0.5) for draw in draws]).T
    error = 3 * np.sqrt(0.25 / len(draws))
    assert np.mean(above >= quantile) >= 0.5 - error and np.mean(below <= quantile) >= 0.5 - error
    assert np.all(below < above)


@pytest.mark.parametrize(("quantile", "needed"), [(0.9, 7), (0.95, 14), (0.99, 69)])
def test_the_fewest_inferences_whose_largest_tells_anything_of_the_quantile(quantile: float, needed: int) -> None:
    assert least_inferences(quantile) == needed
    assert 1 - quantile**needed >= 0.5 > 1 - quantile ** (needed - 1)


@pytest.mark.parametrize("quantile", [0.9, 0.95, 0.99])
def test_launches_that_differ_make_the_pooled_bound_wrong_and_this_one_not(quantile: float) -> None:
    generator, draws, between, within = np.random.default_rng(4), 400, 0.03, 0.03
    normal = stats.norm.ppf(quantile)
    place = int(stats.binom.ppf(0.99, 20 * 160, quantile))
    pooled = wrong_above = wrong_below = 0
    for _ in range(draws):
        ms = between * generator.standard_normal((20, 1)) + within * generator.standard_normal((20, 160))
        pooled += bool(np.sort(ms, axis=None)[place] < normal * np.hypot(between, within))
        low, high = bounds_ms(list(ms), quantile, 0.01)
        wrong_above += high < normal * within
        wrong_below += low > normal * within
    assert pooled / draws > 0.20
    assert max(wrong_above, wrong_below) / draws <= 0.01 + 3 * np.sqrt(0.01 * 0.99 / draws)


@pytest.mark.parametrize(
    ("limit_ms", "verdict", "count"),
    [
        (11.5, Verdict.PASS, 8),
        (9.5, Verdict.REGRESSED, 8),
        (10.5, Verdict.INCONCLUSIVE, 20),
    ],
    ids=["far below", "far above", "at the limit"],
)
def test_a_quantile_is_held_against_its_limit_from_both_sides(limit_ms: float, verdict: Verdict, count: int) -> None:
    answer = gate(measured(launches()), limit_ms)
    assert answer.verdict is verdict and answer.samples == 200 * count
    assert answer.low_ms is not None and answer.high_ms is not None and answer.estimate_ms is not None
    assert answer.low_ms <= answer.estimate_ms <= answer.high_ms
    assert answer.estimate_ms == pytest.approx(10.49, abs=0.1)
    assert (answer.high_ms < limit_ms) == (verdict is Verdict.PASS)
    assert (answer.low_ms > limit_ms) == (verdict is Verdict.REGRESSED)
    assert json.loads(json.dumps(answer.to_json(), allow_nan=False))["verdict"] == verdict.value


def test_the_reason_says_how_many_launches_were_over_the_limit() -> None:
    slow = launches()
    slow[3] = slow[3] * 1.5
    answer = gate(measured(slow), 11.5)
    assert answer.verdict is Verdict.PASS and answer.samples == 200 * 14, "one of eight over the limit waits for 14"
    assert "Of 14 launches 1 had a p95 over the limit of 11.5 ms; the highest was 15." in answer.reason
    assert "typical launch" in answer.reason and "with 99 % confidence" in answer.reason


def test_discarded_quads_and_unfinished_launches_give_no_samples() -> None:
    measurement = measured(launches(12), throttled=(2, 5))
    assert len(samples_ms(measurement, "model")) == 10
    unfinished = replace(measurement, design=replace(measurement.design, quads=2))
    assert samples_ms(unfinished, "model") == []


@pytest.mark.parametrize(
    ("measurement", "quantile", "reason"),
    [
        (measured(launches(7)), 0.95, "Only 7 launches can be used"),
        (measured(launches(20, 68)), 0.99, "only 68 inferences; to bound its p99 69 are needed"),
        (
            measured(launches(20), throttled=(0, 1, 2, 3, 4)),
            0.95,
            "5 of 20 quads had to be discarded; with more than 20 %",
        ),
        (measured([np.append(ms[:-1], 0.0) for ms in launches()]), 0.95, "samples that are no durations"),
        (measured(launches(12), complete=False), 0.95, "ended before it was complete"),
    ],
    ids=["few launches", "few inferences", "discarded", "zero", "partial"],
)
def test_what_bounds_nothing_is_invalid_and_says_why(measurement: Measurement, quantile: float, reason: str) -> None:
    answer = gate(measurement, 10.5, quantile)
    assert answer.verdict is Verdict.INVALID and reason in answer.reason
    assert (answer.estimate_ms, answer.low_ms, answer.high_ms) == (None, None, None)


def test_not_a_number_among_the_samples_is_invalid() -> None:
    measurement = measured(launches())
    damaged = replace(measurement.blocks[3], durations_ns=(float("nan"),) * 100)  # type: ignore[arg-type]
    answer = gate(replace(measurement, blocks=(*measurement.blocks[:3], damaged, *measurement.blocks[4:])), 11.5)
    assert answer.verdict is Verdict.INVALID and "launch 1, quad 0" in answer.reason.lower()


def test_a_partial_measurement_that_a_look_decided_keeps_its_verdict() -> None:
    assert gate(measured(launches(9), complete=False), 11.5).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("model", "quantile", "confidence"), [("other", 0.95, 0.99), ("model", 1.0, 0.99), ("model", 0.95, 1.0)]
)
def test_impossible_questions_are_refused(model: str, quantile: float, confidence: float) -> None:
    with pytest.raises(ValueError, match="no bound"):
        absolute_gate(measured(launches()), model, quantile, 10.0, confidence)
