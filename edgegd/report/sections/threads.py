"""How many threads to run with, on the devices that were tuned."""

from __future__ import annotations

from typing import Any

from edgegd.foreign_text import cell
from edgegd.report.threads import threads_text

TITLE = "Threads"


def text(report: dict[str, Any]) -> str:
    """A tuning per device, or nothing where none was tuned."""
    return "\n\n".join(
        f"**{cell(tuning['target'], 'github')}**, {cell(tuning['machine']['cpu'], 'github')}: "
        f"{threads_text(tuning, 'github')}"
        for tuning in report["tuning"]
    )
