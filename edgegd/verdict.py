"""What a gate answers, of latency or of accuracy: one of four verdicts."""

from __future__ import annotations

from enum import Enum


class Verdict(str, Enum):
    """PASS and REGRESSED are claims with a known error rate; INCONCLUSIVE says the data bear neither out."""

    PASS = "PASS"
    REGRESSED = "REGRESSED"
    INCONCLUSIVE = "INCONCLUSIVE"
    INVALID = "INVALID"


def worst(verdicts: list[Verdict]) -> Verdict:
    """The verdict of several: REGRESSED if any is, else INVALID, else INCONCLUSIVE, else PASS."""
    order = (Verdict.REGRESSED, Verdict.INVALID, Verdict.INCONCLUSIVE, Verdict.PASS)
    return next(verdict for verdict in order if verdict in verdicts)
