"""The committed error rates of the gate. Oracle: the raw data beside them, judged anew by the rule as it is now."""

from __future__ import annotations

from typing import Any

import gate_error_rates
import pytest
from result_file import ResultFile

(ENTRY,) = ResultFile("gate_error_rates").entries
COMMITTED: dict[str, dict[str, Any]] = {row["condition"]: row for row in ENTRY["rows"]}


def test_committed_rates_are_those_of_the_raw_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_error_rates, "other_rules", lambda *_: {})  # takes a minute, and is not ours
    drawn = {row["condition"]: row for row in gate_error_rates.rows()}
    assert drawn.keys() == COMMITTED.keys()
    for condition, row in drawn.items():
        committed = {**COMMITTED[condition]}
        assert row.pop("medians_ms") == pytest.approx(committed.pop("medians_ms"))
        for key in ("condition", "other_rules"):
            del row[key], committed[key]
        assert row == pytest.approx(committed), condition


@pytest.mark.parametrize(
    ("condition", "verdict", "least"),
    [
        ("aa", "PASS", 0.95),
        ("plus5", "REGRESSED", 0.95),
        ("plus10", "REGRESSED", 0.999),
        ("aa-ssh", "PASS", 0.95),
        ("plus5-ssh", "REGRESSED", 0.95),
        ("minus5", "PASS", 0.95),
    ],
)
def test_a_gate_finds_the_truth(condition: str, verdict: str, least: float) -> None:
    assert COMMITTED[condition][verdict] >= least and COMMITTED[condition]["decisions"] >= 200


@pytest.mark.parametrize("condition", list(COMMITTED))
def test_a_gate_is_hardly_ever_wrong(condition: str) -> None:
    row = COMMITTED[condition]
    true_change = row["true_ratio"] - 1
    wrong = row["PASS"] if true_change > ENTRY["margin"] else row["REGRESSED"]
    assert wrong <= (0.01 if condition == "aa" else 0.0)
