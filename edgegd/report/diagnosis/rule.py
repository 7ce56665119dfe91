"""What a rule of the diagnosis is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgegd.report.diagnosis.facts import Facts

PROBLEM, NOTE, GOOD = "problem", "note", "good"
KINDS = (PROBLEM, NOTE, GOOD)
"""In the order in which findings are shown."""


@dataclass(frozen=True)
class Finding:
    """What happened in a sentence or two, the numbers behind it, the limit that they passed, and what to change."""

    sentence: str
    evidence: Mapping[str, Any]
    threshold: str
    change: str


@dataclass(frozen=True)
class Rule:
    """One thing that can be said of a descent.

    `look(facts)` returns a finding or None. `early`: what it finds while steps are still taken is sure enough to be
    said at once. `unless` names rules that, where they found something, explain what this one would find.
    """

    name: str
    kind: str
    look: Callable[[Facts], Finding | None]
    early: bool = False
    unless: tuple[str, ...] = ()


def share(value: float) -> str:
    """A share of 0..1 in percent, with two digits that count."""
    return f"{100 * value:.2g} %" if value < 0.995 else f"{100 * value:.0f} %"


def points(value: float) -> str:
    """A mAP of 0..1 as points."""
    return f"{100 * value:.1f}"


def rounded(value: float) -> float:
    """A value to suggest: one digit that counts."""
    return float(f"{value:.0e}")
