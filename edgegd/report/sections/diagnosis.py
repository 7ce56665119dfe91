"""What happened in the descent, and what to change."""

from __future__ import annotations

from typing import Any

from edgegd.foreign_text import cell

TITLE = "Diagnosis of the descent"
NOTHING = "No rule found anything that would need a change."
_OF = {"adapt": "The adaptation: ", "qat": ""}


def text(report: dict[str, Any]) -> str:
    """One item per finding: what happened, what to change, and the limit that was passed."""
    return "\n".join(_item(finding) for finding in report["diagnosis"]) or NOTHING


def _item(finding: dict[str, Any]) -> str:
    rule, sentence, change, threshold = (
        cell(finding[key], "github") for key in ("rule", "sentence", "change", "threshold")
    )
    return f"- **{rule}** ({finding['kind']}). {_OF[finding['descent']]}{sentence} {change} Threshold: {threshold}."
