"""What quantization did to single images."""

from __future__ import annotations

from typing import Any

from edgegd.report.blocks import Block
from edgegd.report.images import images_blocks

TITLE = "Images"
READS = ("images",)


def blocks(report: dict[str, Any]) -> list[Block]:
    """What `edgegd images` found, where it was asked."""
    found = report["images"]
    return images_blocks(found) if found else []
