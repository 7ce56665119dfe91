"""What happened in a gradient descent, in plain sentences: rules over its telemetry (docs/diagnosis.md).

Rules are pure functions of Facts. To add one: a function in a module here, and a line in RULES.
"""

from __future__ import annotations

from typing import Any

from edgegd.report.diagnosis import course, layers, ranges, rate
from edgegd.report.diagnosis.facts import Facts
from edgegd.report.diagnosis.rule import GOOD, KINDS, NOTE, PROBLEM, Rule

_BROKEN = ("diverged",)
_STEPS = ("diverged", "rate-too-high")
_RANGES = (*_STEPS, "ranges-collapsed")
RULES = (
    Rule("diverged", PROBLEM, rate.diverged, early=True),
    Rule("rate-too-high", PROBLEM, rate.too_high, early=True, unless=_BROKEN),
    Rule("rate-too-low", PROBLEM, rate.too_low),
    Rule("clipped", NOTE, rate.clipped, early=True, unless=_BROKEN),
    Rule("overfitting", PROBLEM, course.overfitting, unless=_BROKEN),
    Rule("plateau", NOTE, course.plateau, unless=(*_BROKEN, "rate-too-low", "overfitting")),
    Rule("set-too-small", NOTE, course.set_too_small, early=True),
    Rule("ranges-collapsed", PROBLEM, ranges.collapsed, early=True, unless=_STEPS),
    Rule("ranges-moving", NOTE, ranges.moving, unless=_RANGES),
    Rule("gradient-dominated", PROBLEM, layers.gradient_dominated, unless=_RANGES),
    Rule("dead-channels", NOTE, layers.dead_channels, unless=_RANGES),
    Rule("saturated-channels", NOTE, layers.saturated_channels, unless=_RANGES),
    Rule("oscillating", NOTE, layers.oscillating, unless=_BROKEN),
    Rule("converged", GOOD, course.converged),
)
"""In an order in which what explains a finding comes before it; `converged` is said only where there is no problem."""


def diagnose(facts: Facts, rules: tuple[Rule, ...] = RULES) -> list[dict[str, Any]]:
    """The findings of a descent, problems first: rule, kind, sentence, evidence, threshold, change."""
    found: dict[str, dict[str, Any]] = {}
    for rule in rules:
        good_among_bad = rule.kind == GOOD and any(row["kind"] == PROBLEM for row in found.values())
        if good_among_bad or not found.keys().isdisjoint(rule.unless):
            continue
        if finding := rule.look(facts):
            found[rule.name] = {"rule": rule.name, "kind": rule.kind} | vars(finding)
    return sorted(found.values(), key=lambda row: KINDS.index(row["kind"]))
