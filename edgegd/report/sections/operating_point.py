"""At which score threshold to use the model."""

from __future__ import annotations

from typing import Any

from edgegd.report.operating_point import operating_tables

TITLE = "Operating point"


def text(report: dict[str, Any]) -> str:
    """What `edgegd operating-point` found, where it was asked."""
    found = report["operating_point"]
    return operating_tables(found, "github") if found else ""
