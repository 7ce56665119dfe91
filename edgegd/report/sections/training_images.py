"""What the training did with each of its images, and which labels to look at."""

from __future__ import annotations

from typing import Any

from edgegd.report.blocks import Block
from edgegd.report.training_images import training_images_blocks

TITLE = "Training images and suspected labels"
READS = ("training_images",)


def blocks(report: dict[str, Any]) -> list[Block]:
    """What `edgegd labels` found, where it was asked."""
    found = report["training_images"]
    return training_images_blocks(found) if found else []
