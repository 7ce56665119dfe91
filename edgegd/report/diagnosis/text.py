"""A diagnosis in words, for the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgegd.foreign_text import one_line

_TITLES = {"adapt": "The adaptation", "qat": "QAT"}
NOTHING = "No rule found anything that would need a change."
OLD = "The lines are of an earlier version and hold losses alone: most rules had nothing to read. Train again for more."


@dataclass(frozen=True)
class Diagnosis:
    """One descent: its stage, how many of its steps are recorded, whether it ended, and what the rules found.

    `telemetry` is False where the lines are those of an earlier version, which hold losses alone; `unrecorded` says
    why lines are missing, where they are.
    """

    stage: str
    steps: int
    planned: int
    ended: bool
    telemetry: bool
    unrecorded: str
    findings: list[dict[str, Any]]


def diagnosis_text(diagnosis: Diagnosis) -> str:
    """Which descent, how far it is, and each finding with its evidence, its threshold and what to change."""
    how_far = "ended" if diagnosis.ended else "not ended: it runs, was killed, or failed"
    lines = [f"{_TITLES[diagnosis.stage]}: {diagnosis.steps} of {diagnosis.planned} steps recorded, {how_far}."]
    if diagnosis.unrecorded:
        lines.append(f"{diagnosis.unrecorded}; rules about the end say nothing.")
    if not diagnosis.telemetry:
        lines.append(OLD)
    elif not diagnosis.findings:
        lines.append(NOTHING if diagnosis.steps else "No step has been taken yet.")
    for finding in diagnosis.findings:
        evidence = ", ".join(f"{name} {_value(value)}" for name, value in finding["evidence"].items())
        lines += [
            f"{finding['kind']}: {finding['rule']}",
            f"  {finding['sentence']}",
            f"  Change: {finding['change']}",
            f"  Evidence: {evidence}",
            f"  Threshold: {finding['threshold']}",
        ]
    return "\n".join(one_line(line) for line in lines)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_value, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)
