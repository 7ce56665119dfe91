"""Which of PTQ and QAT to ship."""

from __future__ import annotations

from typing import Any

from edgegd.report.ship import ship_section

TITLE = "Which to ship"


def text(report: dict[str, Any]) -> str:
    """The verdict and what it rests on."""
    return ship_section(report)
