"""What happened in the descent, and what to change."""

from __future__ import annotations

from typing import Any

from edgegd.foreign_text import cell

TITLE = "Diagnosis of the descent"
_OF = {"adapt": "Adaptation: ", "qat": ""}


def text(report: dict[str, Any]) -> str:
    """One item per finding: what happened, what to change, and the limit that was passed."""
    findings = report["diagnosis"]
    if not findings:
        return "No rule found anything that would need a change (docs/diagnosis.md lists the rules)."
    lines = [
        f"- **{finding['rule']}** ({finding['kind']}). {_OF.get(finding['descent'], '')}{finding['sentence']} "
        f"{finding['change']} *Threshold: {finding['threshold']}.*"
        for finding in findings
    ]
    return "\n".join(cell_but_stars(line) for line in lines)


def cell_but_stars(line: str) -> str:
    """The line without what Markdown would take for markup, but for its own stars."""
    return cell(line, "github")
