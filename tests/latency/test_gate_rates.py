"""How often a gate says what: the table in edgegd.latency.statistics.sequential_test, drawn anew."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edgegd.latency.gate.relative import adjust
from edgegd.latency.statistics import sequential_test as looks
from edgegd.latency.statistics.sequential_test import GateRule, decide, outcomes
from edgegd.latency.statistics.verdict import RelativeGate
from edgegd.verdict import Verdict

DRAWS = 5000
SLOWDOWNS = (-0.05, 0.0, 0.02, 0.03, 0.04, 0.05, 0.10)
SPREADS = (0.005, 0.010, 0.015, 0.020)
_CELL = re.compile(r"([\d.]+)/([\d.]+) +([\d.]+)")
ROWS = [
    [tuple(map(float, cell)) for cell in _CELL.findall(line)]
    for line in (looks.__doc__ or "").splitlines()
    if "SD " in line and "/" in line
]


def noise(kind: str) -> np.ndarray:
    generator = np.random.default_rng(5)
    if kind == "normal":
        return generator.standard_normal((DRAWS, 20))
    return generator.standard_t(3, (DRAWS, 20)) / np.sqrt(3)


@pytest.mark.parametrize("spread", range(len(SPREADS)), ids=lambda i: f"SD {SPREADS[i]:.1%}")
@pytest.mark.parametrize("kind", ["normal", "t"])
def test_the_documented_rates(kind: str, spread: int) -> None:
    assert [len(row) for row in ROWS] == [len(SLOWDOWNS)] * 8
    drawn = SPREADS[spread] * noise(kind)
    for slowdown, documented in zip(SLOWDOWNS, ROWS[spread + (4 if kind == "t" else 0)], strict=True):
        verdicts, used = outcomes(drawn + np.log1p(slowdown), GateRule())
        for rate, percent in zip((np.mean(verdicts == 1), np.mean(verdicts == -1)), documented[:2], strict=True):
            error = np.sqrt(max(percent / 100 * (1 - percent / 100), 1e-3) / DRAWS)
            assert rate == pytest.approx(percent / 100, abs=4 * error), f"at {slowdown:+.0%}"
        assert used.mean() == pytest.approx(documented[2], abs=0.3)


def test_what_must_hold_where_launches_differ_by_one_percent() -> None:
    drawn = 0.01 * noise("normal")
    rates = {slowdown: outcomes(drawn + np.log1p(slowdown), GateRule())[0] for slowdown in SLOWDOWNS}
    assert np.mean(rates[0.0] == -1) >= 0.95 and np.mean(rates[0.0] == 1) == 0
    assert np.mean(rates[0.05] == 1) >= 0.95
    assert np.mean(rates[0.10] == 1) >= 0.999
    assert np.mean(rates[-0.05] == 1) == 0
    assert np.mean(rates[0.03] == 1) <= 0.01 and np.mean(rates[0.03] == -1) <= 0.01


def test_three_devices_at_the_margin_are_wrong_together_as_seldom_as_one() -> None:
    rule, sets = GateRule(devices=3), 1500
    drawn = np.log1p(0.03) + 0.01 * np.random.default_rng(1).standard_normal((sets, 3, 20))
    wrong = 0
    for devices in drawn:
        gates = []
        for ratios in devices:
            one = decide(ratios, rule, discarded_quads=0, quads=1)
            assert one.verdict is not None
            gates.append(
                RelativeGate(
                    one.verdict,
                    one.reason,
                    "",
                    "",
                    "",
                    rule.margin,
                    rule.alpha,
                    one.ratio,
                    one.low,
                    one.high,
                    one.looks,
                    (),
                    0,
                    1,
                )
            )
        wrong += any(gate.verdict is Verdict.REGRESSED for gate in adjust(gates))
    assert wrong / sets <= 0.01 + 3 * np.sqrt(0.01 * 0.99 / sets)
