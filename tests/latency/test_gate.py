"""The relative gate on whole measurements, and several of them judged together (oracle: the closed test)."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_measurement import FINGERPRINT, made_measurement
from numpy.typing import NDArray

from edgegd.latency.gate.calibration import Calibration, detectable, pass_probability
from edgegd.latency.gate.relative import GateRule, adjust, holm, refusal, relative_gate
from edgegd.latency.measuring.record import Measurement
from edgegd.latency.statistics.verdict import Look, RelativeGate
from edgegd.verdict import Verdict

RULE = GateRule()
SLOW = np.log1p(0.05) + np.linspace(-0.002, 0.002, 8)
UNDECIDED = np.log1p(0.03) + np.linspace(-0.02, 0.02, 20)[np.random.default_rng(0).permutation(20)]


def calibration(sd: float, **changes: object) -> Calibration:
    ratios = sd * np.random.default_rng(3).standard_normal(30)
    made = Calibration(
        "board",
        FINGERPRINT,
        threads=1,
        spinning=False,
        quads=4,
        block_s=0.2,
        launch_ratios=tuple(ratios.tolist()),
        made="then",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def gate(measurement: Measurement, rule: GateRule = RULE, known: Calibration | None = None) -> RelativeGate:
    return relative_gate(measurement, "candidate", rule, known)


def spoilt(measurement: Measurement, *durations_ns: float) -> Measurement:
    """With other samples in the last block."""
    block = replace(measurement.blocks[-1], durations_ns=durations_ns)  # type: ignore[arg-type]
    return replace(measurement, blocks=(*measurement.blocks[:-1], block))


def test_a_gate_tells_everything_that_it_rests_on() -> None:
    answer = gate(made_measurement(SLOW), known=calibration(0.01))
    assert answer.verdict is Verdict.REGRESSED and "at least 4.8 % slower than the reference" in answer.reason
    assert (answer.target, answer.model, answer.reference) == ("board", "candidate", "baseline")
    assert answer.launch_ratios == pytest.approx(np.exp(SLOW), abs=1e-8)
    assert (answer.discarded_quads, answer.quads) == (0, 32)
    assert answer.detectable == detectable(calibration(0.01), RULE)
    assert answer.pass_probability == pass_probability(calibration(0.01), RULE)
    assert f"{100 * (answer.detectable - 1):.1f} % slower or more is found with 95 % probability" in answer.reason
    assert json.loads(json.dumps(answer.to_json(), allow_nan=False))["verdict"] == "REGRESSED"


@pytest.mark.parametrize(("busy_ticks", "told"), [(150, True), (1, False)], ids=["busy", "idle"])
def test_what_other_processes_did_is_told_where_nothing_could_be_decided(busy_ticks: int, told: bool) -> None:
    measurement = made_measurement(UNDECIDED)
    state = {"clocks_ns": {"monotonic": 0}, "busy_ticks": 0, "own_ticks": 0, "ticks_per_s": 100}
    after = {**state, "clocks_ns": {"monotonic": 10**9}, "busy_ticks": busy_ticks}
    blocks = tuple(replace(block, before=state, after=after) for block in measurement.blocks)
    answer = gate(replace(measurement, blocks=blocks))
    assert answer.verdict is Verdict.INCONCLUSIVE
    assert ("Other processes, or the hypervisor, took 1.5 cores." in answer.reason) == told
    assert ("Other processes" in answer.reason) == told


def test_replaying_gives_the_same_answer_and_more_data_than_the_deciding_look_do_not_change_it() -> None:
    measurement = made_measurement(SLOW)
    assert gate(measurement) == gate(measurement) == gate(replace(measurement, complete=False))
    longer = gate(made_measurement(np.concatenate([SLOW, np.full(12, -0.5)])))
    assert (longer.verdict, longer.looks, longer.ratio) == (
        Verdict.REGRESSED,
        gate(measurement).looks,
        gate(measurement).ratio,
    )


def test_the_ratio_of_a_launch_is_the_median_of_its_sound_quads() -> None:
    throttled = frozenset((launch, 0) for launch in range(6))
    answer = gate(made_measurement(SLOW, throttled=throttled))
    assert answer.verdict is Verdict.REGRESSED and (answer.discarded_quads, answer.quads) == (6, 32)


@pytest.mark.parametrize(
    ("measurement", "reason"),
    [
        (made_measurement(SLOW, throttled=frozenset((launch, 0) for launch in range(7))), "7 of 32 quads had to be"),
        (made_measurement(SLOW[:7]), "Only 7 launches can be used"),
        (made_measurement(SLOW[:7], complete=False), "ended before it was complete and before a look decided"),
        (made_measurement(UNDECIDED[:12], complete=False), "ended before it was complete and before a look decided"),
        (
            made_measurement(SLOW, fingerprints={5: {**FINGERPRINT, "governor": "powersave"}}),
            "another one in launch 5 than in the first (governor: None, powersave)",
        ),
        (spoilt(made_measurement(SLOW), 10**9, float("nan"), 10**9), "launch 7, quad 3"),
        (spoilt(made_measurement(SLOW), 10**9, float("inf"), 10**9), "samples that are no durations"),
        (spoilt(made_measurement(SLOW), 10**9, 0, 10**9), "samples that are no durations"),
        (spoilt(made_measurement(SLOW)), "samples that are no durations"),
    ],
    ids=["discarded", "few", "partial early", "partial late", "other device", "nan", "infinite", "zero", "empty"],
)
def test_what_may_not_be_judged_is_invalid_and_says_why(measurement: Measurement, reason: str) -> None:
    answer = gate(measurement, known=calibration(0.01))
    assert answer.verdict is Verdict.INVALID and reason.lower() in answer.reason.lower()
    assert (answer.ratio, answer.low, answer.high) == (None, None, None)
    json.dumps(answer.to_json(), allow_nan=False)


def test_a_measurement_that_reached_no_decision_is_inconclusive() -> None:
    assert gate(made_measurement(UNDECIDED)).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("model", ["baseline", "other"])
def test_only_a_measured_candidate_can_be_gated(model: str) -> None:
    with pytest.raises(ValueError, match=model):
        relative_gate(made_measurement(SLOW), model, RULE)


def test_a_device_that_shows_only_great_regressions_gets_no_answer() -> None:
    noisy = calibration(0.06)
    assert detectable(noisy, RULE) > 1.10
    answer = gate(made_measurement(SLOW), known=noisy)
    assert answer.verdict is Verdict.INVALID and "the budget is 10.0 % slower" in answer.reason
    assert answer.ratio is None and answer.detectable == detectable(noisy, RULE)
    assert refusal(noisy, RULE) in answer.reason
    willing = GateRule(budget=0.5)
    assert refusal(noisy, willing) == "" and gate(made_measurement(SLOW), willing, noisy).verdict is Verdict.REGRESSED


@pytest.mark.parametrize(
    ("known", "text"),
    [
        (None, "The device is not calibrated"),
        (
            calibration(0.06, fingerprint={**FINGERPRINT, "cpu": "another"}),
            "does not count for this measurement: cpu: an",
        ),
        (calibration(0.06, block_s=0.5), "block_s: 0.5, 0.2"),
    ],
    ids=["none", "other device", "other blocks"],
)
def test_without_a_calibration_that_counts_the_gate_answers_and_says_what_is_unknown(
    known: Calibration | None, text: str
) -> None:
    answer = gate(made_measurement(SLOW), known=known)
    assert answer.verdict is Verdict.REGRESSED and answer.detectable is None and answer.pass_probability is None
    assert text in answer.reason and "edgegd latency calibrate" in answer.reason


@given(st.lists(st.sampled_from([0.0005, 0.002, 0.0034, 0.004, 0.006, 0.01, 0.02, 0.5]), max_size=5))
def test_holm_rejects_what_the_closed_test_rejects(p_values: list[float]) -> None:
    everything = range(len(p_values))
    sets = [chosen for size in everything for chosen in itertools.combinations(everything, size + 1)]
    closed = [
        all(min(p_values[i] for i in chosen) <= 0.01 / len(chosen) for chosen in sets if index in chosen)
        for index in everything
    ]
    assert holm(p_values, 0.01) == closed


def judged(verdict: Verdict, p_regressed: float, p_pass: float, look: int = 2) -> RelativeGate:
    made = Look(RULE.looks[look], RULE.alpha * RULE.split[look], p_regressed, p_pass)
    ratios: NDArray[np.float64] = np.array([])
    return RelativeGate(
        verdict, "Alone.", "board", "candidate", "baseline", 0.03, 0.01, 1.0, 0.9, 1.1, (made,), tuple(ratios), 0, 8
    )


def test_of_two_weak_verdicts_together_neither_stands_and_a_strong_one_carries_the_weak_one() -> None:
    weak, strong = judged(Verdict.PASS, 1.0, 0.004), judged(Verdict.PASS, 1.0, 0.0001)
    assert [one.verdict for one in adjust([weak, weak])] == [Verdict.INCONCLUSIVE] * 2
    assert [one.verdict for one in adjust([weak, strong])] == [Verdict.PASS] * 2
    assert adjust([weak]) == (weak,)
    reason = adjust([weak, weak])[0].reason
    assert "PASS alone (p = 0.0089 over its looks), but with 2 devices judged together" in reason


def test_each_side_has_its_own_step_down() -> None:
    slow, quick = judged(Verdict.REGRESSED, 0.004, 1.0), judged(Verdict.PASS, 1.0, 0.0001)
    assert [one.verdict for one in adjust([slow, quick])] == [Verdict.INCONCLUSIVE, Verdict.PASS]
    strong = judged(Verdict.REGRESSED, 0.002, 1.0)
    assert [one.verdict for one in adjust([strong, quick])] == [Verdict.REGRESSED, Verdict.PASS]


def test_invalid_gates_are_neither_changed_nor_counted() -> None:
    weak, none = judged(Verdict.REGRESSED, 0.004, 1.0), replace(judged(Verdict.INVALID, 1.0, 1.0), looks=())
    assert adjust([none, weak, none]) == (none, weak, none)


def test_gates_that_ended_early_for_several_devices_always_survive() -> None:
    rule = GateRule(devices=3)
    answers = [relative_gate(made_measurement(shift + UNDECIDED), "candidate", rule) for shift in (0.03, -0.03, 0.05)]
    ended = [one.looks[-1].launches for one in answers]
    assert max(ended) < 20 and [one.verdict for one in answers] == [Verdict.REGRESSED, Verdict.PASS, Verdict.REGRESSED]
    assert adjust(answers) == tuple(answers)


def test_gates_of_unlike_alpha_are_not_judged_together() -> None:
    with pytest.raises(ValueError, match="one alpha"):
        adjust([judged(Verdict.PASS, 1, 0.001), replace(judged(Verdict.PASS, 1, 0.001), alpha=0.05)])
