"""The looks of a gate: which of them decides, and what a verdict has to do with the data and its bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgegd.latency.statistics.sequential_test import Decision, GateRule, decide, outcomes
from edgegd.verdict import Verdict

RULE = GateRule()
CODES = {Verdict.REGRESSED: 1, Verdict.PASS: -1, Verdict.INCONCLUSIVE: 0}
ORDER = (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.REGRESSED)
SAMPLES = st.builds(
    lambda seed, centre, sd: centre + sd * np.random.default_rng(seed).standard_t(3, 20),
    st.integers(0, 10**6),
    st.floats(-0.05, 0.12),
    st.sampled_from([0.002, 0.01, 0.03]),
)


def decided(log_ratios: NDArray[np.float64], rule: GateRule = RULE, complete: bool = True) -> Decision:
    return decide(log_ratios, rule, discarded_quads=0, quads=8 * len(log_ratios), complete=complete)


def slower_by(*percent: float) -> NDArray[np.float64]:
    return np.log1p(np.array(percent) / 100)


@pytest.mark.parametrize(
    ("percent", "verdict"),
    [(4, Verdict.REGRESSED), (2, Verdict.PASS), (-5, Verdict.PASS)],
    ids=["one point beyond", "one point within", "faster"],
)
def test_a_clear_case_is_decided_by_eight_launches(percent: float, verdict: Verdict) -> None:
    steps = np.linspace(-0.2, 0.2, 8)
    decision = decided(slower_by(*(percent + steps)), complete=False)
    assert decision.verdict is verdict
    assert [look.launches for look in decision.looks] == [8]
    assert min(decision.looks[0].p_pass, decision.looks[0].p_regressed) == 2.0**-8
    assert decision.ratio == pytest.approx(1 + percent / 100, abs=1e-5)


def test_one_launch_on_the_other_side_is_not_decided_by_eight_but_by_fourteen() -> None:
    ratios = slower_by(*[6.0 + i / 10 for i in range(13)], 6.5)
    ratios[3] = 0.0
    assert decided(ratios[:8], complete=False).verdict is None
    decision = decided(ratios, complete=False)
    assert decision.verdict is Verdict.REGRESSED and [look.launches for look in decision.looks] == [8, 14]


def test_the_first_look_that_decides_stands_whatever_comes_later() -> None:
    calm, wild = slower_by(*np.linspace(-0.3, 0.3, 8)), slower_by(*np.linspace(20, 40, 12))
    assert decided(calm) == decided(np.concatenate([calm, wild]))
    assert decided(wild[:8]).verdict is Verdict.REGRESSED


def test_a_candidate_at_the_margin_is_inconclusive_after_the_last_look_and_not_before() -> None:
    ratios = slower_by(*(3 + (-1) ** i * (i + 1) / 10 for i in range(20)))
    verdicts = [decided(ratios[:count], complete=False).verdict for count in range(21)]
    assert verdicts == [None] * 20 + [Verdict.INCONCLUSIVE]


def test_the_last_look_is_made_at_what_there_is_where_no_more_will_come() -> None:
    ratios = slower_by(*[6.0 + i / 10 for i in range(11)])
    ratios[2] = slower_by(2.9)[0]
    assert decided(ratios, complete=False).verdict is None
    decision = decided(ratios, complete=True)
    assert decision.verdict is Verdict.REGRESSED
    assert [look.launches for look in decision.looks] == [8, 11]
    assert [look.alpha for look in decision.looks] == pytest.approx([0.0040, 0.0045])


@given(SAMPLES)
def test_a_verdict_is_what_the_bounds_say(ratios: NDArray[np.float64]) -> None:
    decision = decided(ratios)
    assert decision.low is not None and decision.ratio is not None and decision.high is not None
    assert decision.low <= decision.ratio <= decision.high
    assert (decision.verdict is Verdict.REGRESSED) == (decision.low > 1.03)
    assert (decision.verdict is Verdict.PASS) == (decision.high < 1.03)


@given(SAMPLES)
def test_swapping_candidate_and_reference_mirrors_the_answer(ratios: NDArray[np.float64]) -> None:
    none = GateRule(margin=0.0)
    one, other = decided(ratios, none), decided(-ratios, none)
    assert CODES[one.verdict or Verdict.INVALID] == -CODES[other.verdict or Verdict.INVALID]
    assert [look.p_pass for look in one.looks] == [look.p_regressed for look in other.looks]
    assert one.ratio == pytest.approx(1 / other.ratio) and one.low == pytest.approx(1 / other.high)
    if decided(ratios).verdict is Verdict.REGRESSED:
        assert decided(-ratios).verdict is Verdict.PASS


@given(SAMPLES, st.floats(0, 0.05))
def test_a_slower_candidate_is_never_judged_better(ratios: NDArray[np.float64], shift: float) -> None:
    before, after = decided(ratios).verdict, decided(ratios + shift).verdict
    assert before in ORDER and after in ORDER and ORDER.index(before) <= ORDER.index(after)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([1, 3]))
def test_many_gates_at_once_are_judged_as_one_by_one(seed: int, devices: int) -> None:
    rule = GateRule(devices=devices)
    draws = 0.04 + 0.015 * np.random.default_rng(seed).standard_normal((30, 20))
    verdicts, used = outcomes(draws, rule)
    singly = [decided(row, rule) for row in draws]
    assert verdicts.tolist() == [CODES[one.verdict or Verdict.INVALID] for one in singly]
    assert used.tolist() == [one.looks[-1].launches for one in singly]


def test_of_several_devices_an_early_look_decides_only_what_holm_would_keep() -> None:
    ratios = slower_by(*[6.0 + i / 10 for i in range(20)])
    both = GateRule(devices=2)
    assert decided(ratios[:8], both, complete=False).verdict is None, "2^-8 is more than 0.004 / 2"
    assert [look.launches for look in decided(ratios, both).looks] == [8, 14]


@pytest.mark.parametrize(("discarded", "quads", "invalid"), [(16, 80, False), (17, 80, True), (0, 64, False)])
def test_more_than_a_fifth_discarded_is_invalid(discarded: int, quads: int, invalid: bool) -> None:
    decision = decide(slower_by(*range(5, 13)), RULE, discarded_quads=discarded, quads=quads)
    assert (decision.verdict is Verdict.INVALID) == invalid
    assert (f"{discarded} of {quads} quads" in decision.reason) == invalid


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_ratio_that_is_not_finite_is_invalid(value: float) -> None:
    decision = decided(np.array([0.0] * 9 + [value]), complete=False)
    assert decision.verdict is Verdict.INVALID and "not a finite number" in decision.reason


def test_too_few_launches_are_waited_for_and_invalid_where_no_more_will_come() -> None:
    assert decided(slower_by(*[9.0] * 7), complete=False).verdict is None
    decision = decided(slower_by(*[9.0] * 7), complete=True)
    assert decision.verdict is Verdict.INVALID and "Only 7 launches" in decision.reason


def test_a_look_that_so_few_launches_cannot_pass_claims_nothing() -> None:
    decision = decided(slower_by(*[9.0] * 8), GateRule(alpha=0.001))
    assert decision.verdict is Verdict.INCONCLUSIVE and (decision.low, decision.high) == (None, None)
    assert "too few for any claim" in decision.reason


@pytest.mark.parametrize(
    "wrong",
    [
        {"margin": -0.01},
        {"alpha": 0.0},
        {"alpha": 0.6},
        {"looks": (8, 8, 20)},
        {"looks": ()},
        {"split": (0.5, 0.6, 0.1)},
        {"split": (0.5, 0.5)},
        {"looks": (4,), "split": (1.0,)},
        {"devices": 0},
        {"max_discarded": 1.0},
        {"margin": math.nan},
        {"margin": math.inf},
        {"margin": 1e9},
        {"alpha": math.nan},
        {"budget": math.nan},
        {"budget": 0.0},
        {"max_discarded": math.nan},
        {"split": (math.nan, 0.1, 0.1)},
        {"split": (0.1, math.nan, 0.1)},
    ],
    ids=str,
)
def test_a_rule_that_cannot_be_followed_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        GateRule(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("percent", "text"),
    [
        ((4.9, 5.1), "at least 4.9 % slower than the reference, with 99.60 % confidence after 8 launches"),
        ((1.0, 1.4), "at most 1.4 % slower than the reference, with 99.60 % confidence"),
        ((-5.1, -4.9), "at least 4.9 % faster than the reference"),
    ],
)
def test_the_reason_says_how_much_slower(percent: tuple[float, float], text: str) -> None:
    assert text in decided(slower_by(*np.linspace(*percent, 8))).reason
