"""What happened in a gradient descent, in plain sentences: rules over its telemetry (docs/diagnosis.md).

Rules are pure functions of Facts. To add one: a function in a module here, and a line in RULES.
"""

from __future__ import annotations

from typing import Any

from edgegd.report.diagnosis import course, layers, ranges, rate
from edgegd.report.diagnosis.facts import Facts
from edgegd.report.diagnosis.rule import GOOD, NOTE, PROBLEM, Rule

RULES = (
    Rule("diverged", PROBLEM, rate.diverged, early=True),
    Rule("rate-too-high", PROBLEM, rate.too_high, early=True),
    Rule("rate-too-low", PROBLEM, rate.too_low),
    Rule("clipped", NOTE, rate.clipped, early=True),
    Rule("plateau", NOTE, course.plateau),
    Rule("overfitting", PROBLEM, course.overfitting),
    Rule("set-too-small", NOTE, course.set_too_small, early=True),
    Rule("ranges-collapsed", PROBLEM, ranges.collapsed, early=True),
    Rule("ranges-moving", NOTE, ranges.moving),
    Rule("gradient-dominated", PROBLEM, layers.gradient_dominated),
    Rule("dead-channels", NOTE, layers.dead_channels),
    Rule("saturated-channels", NOTE, layers.saturated_channels),
    Rule("oscillating", NOTE, layers.oscillating),
    Rule("converged", GOOD, course.converged),
)
"""What is good is said only where nothing else was found that is a problem."""


def diagnose(facts: Facts, rules: tuple[Rule, ...] = RULES) -> list[dict[str, Any]]:
    """The findings of a descent, problems first: rule, kind, sentence, evidence, threshold, change."""
    found: list[dict[str, Any]] = []
    for rule in rules:
        if rule.kind == GOOD and any(row["kind"] == PROBLEM for row in found):
            continue
        if finding := rule.look(facts):
            found.append({"rule": rule.name, "kind": rule.kind} | vars(finding))
    return sorted(found, key=lambda row: (PROBLEM, NOTE, GOOD).index(row["kind"]))
