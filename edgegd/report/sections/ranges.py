"""The ranges that lose the most."""

from __future__ import annotations

from typing import Any

from edgegd.report.table import table

TITLE = "Ranges with the least signal over quantization noise"


def text(report: dict[str, Any]) -> str:
    """A line per scale group."""
    rows = [[weak["group"], f"{weak['sqnr_db']:.1f}"] for weak in report["weakest_ranges"]]
    return table(rows, ["scale group", "SQNR dB"], "github", align=("left", "right"))
