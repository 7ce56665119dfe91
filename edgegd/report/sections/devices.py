"""What `edgegd prove` found on devices."""

from __future__ import annotations

from typing import Any

from edgegd.foreign_text import cell
from edgegd.report.device import device_text

TITLE = "Proved on the devices"


def text(report: dict[str, Any]) -> str:
    """Codes, mAP, latency, loading and limits of each device; empty where nothing was proved."""
    parts = []
    for target, proof in report.get("devices", {}).items():
        parts += [f"### {cell(target, 'github')}", device_text(proof, "github")]
    return "\n\n".join(parts)
