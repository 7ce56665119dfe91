"""Gates of every verdict, and a measurement whose numbers are known."""

from __future__ import annotations

import pytest

from edgegd.latency.verdict import AbsoluteGate, Look, RelativeGate, StaticFinding, StaticGate, Verdict
from edgegd.report.latency_table import Gate

LOOKS = (Look(8, 0.004, 0.2, 0.03), Look(15, 0.006, 0.00012, 0.93))


@pytest.fixture
def gates() -> dict[str, Gate]:
    """One gate a name: regressed, passed, refused, inconclusive (absolute), static, static_passed."""
    findings = (StaticFinding("convolutions", "99 integer, 3 float", "98 integer, 4 float", False, "in float now: a|b"),
                StaticFinding("nodes: Add", "2", "2", True, ""), StaticFinding("model bytes", "1", "1", True, ""))
    return {
        "regressed": RelativeGate(Verdict.REGRESSED, "More than 3 % slower.", "pi5", "candidate", "shipped", 0.03, 0.01,
                                  1.0481, 1.0392, 1.0561, LOOKS, (1.04,) * 15, 2, 60, 1.0452, 0.99),
        "passed": RelativeGate(Verdict.PASS, "Less than 3 % slower.", "server", "candidate", "shipped", 0.03, 0.01,
                               0.9801, 0.9712, 1.0051, LOOKS[:1], (0.98,) * 8, 0, 32, 1.0452, 0.99),
        "refused": RelativeGate(Verdict.INVALID, "21 of 60 quads\nhad to be discarded: \x1b[31m<throttled>", "ssh://a|b",
                                "candidate", "shipped", 0.03, 0.01, None, None, None, (), (), 21, 60),
        "inconclusive": AbsoluteGate(Verdict.INCONCLUSIVE, "Too few samples.", "pi5", "candidate", 0.99, 30.0, 0.99,
                                     28.1, 27.5, 31.2, 1200),
        "static": StaticGate(Verdict.REGRESSED, "candidate", "shipped", findings),
        "static_passed": StaticGate(Verdict.PASS, "candidate", "shipped", findings[1:]),
    }  # fmt: skip
