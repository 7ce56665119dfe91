"""At which score threshold to use the model."""

from __future__ import annotations

from typing import Any

from edgegd.report.blocks import Block
from edgegd.report.operating_point import operating_blocks

TITLE = "Operating point"
READS = ("operating_point",)


def blocks(report: dict[str, Any]) -> list[Block]:
    """What `edgegd operating-point` found, where it was asked."""
    found = report["operating_point"]
    return operating_blocks(found) if found else []
