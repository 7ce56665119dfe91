"""Which of PTQ and QAT to ship."""

from __future__ import annotations

from typing import Any

from edgegd.report.blocks import Block
from edgegd.report.measured_pictures import accuracy_picture
from edgegd.report.ship import ship_blocks

TITLE = "Which to ship"
READS = ("accuracy", "differences", "bootstrap", "ship")


def blocks(report: dict[str, Any]) -> list[Block]:
    """The verdict and what it rests on."""
    return [*ship_blocks(report), accuracy_picture(report)]
