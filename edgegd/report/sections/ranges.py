"""The ranges that lose the most."""

from __future__ import annotations

from typing import Any

from edgegd.report.blocks import Block, Table
from edgegd.report.measured_pictures import weakest_picture

TITLE = "Ranges with the least signal over quantization noise"
READS = ("weakest_ranges",)


def blocks(report: dict[str, Any]) -> list[Block]:
    """A line per scale group."""
    rows = [[weak["group"], f"{weak['sqnr_db']:.1f}"] for weak in report["weakest_ranges"]]
    return [Table(["scale group", "SQNR dB"], rows, ("left", "right")), weakest_picture(report)]
