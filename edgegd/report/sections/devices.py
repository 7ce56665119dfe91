"""What `edgegd prove` found on devices."""

from __future__ import annotations

from typing import Any

from edgegd.report.blocks import Block, Subheading
from edgegd.report.device import device_blocks

TITLE = "Proved on the devices"
READS = ("devices",)


def blocks(report: dict[str, Any]) -> list[Block]:
    """Codes, mAP, latency, loading and limits of each device; empty where nothing was proved."""
    found: list[Block] = []
    for target, proof in report["devices"].items():
        found += [Subheading(target), *device_blocks(proof)]
    return found
