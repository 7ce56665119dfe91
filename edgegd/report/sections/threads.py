"""How many threads to run with, on the devices that were tuned."""

from __future__ import annotations

from typing import Any

from edgegd.report.blocks import Block, Paragraph, Strong
from edgegd.report.threads import threads_blocks

TITLE = "Threads"
READS = ("tuning",)


def blocks(report: dict[str, Any]) -> list[Block]:
    """A tuning per device, or nothing where none was tuned."""
    found: list[Block] = []
    for tuning in report["tuning"]:
        found += [Paragraph(Strong(tuning["target"]), f", {tuning['machine']['cpu']}:"), *threads_blocks(tuning)]
    return found
