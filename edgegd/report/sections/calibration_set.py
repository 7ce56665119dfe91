"""Whether the calibration set is large enough, and which of its images extend ranges alone."""

from __future__ import annotations

from typing import Any

from edgegd.report.blocks import Block, Paragraph
from edgegd.report.calibration_curve import curve_blocks

TITLE = "Calibration set"
READS = ("calibration_set", "calibration_curve")


def blocks(report: dict[str, Any]) -> list[Block]:
    """How the number of images was found, where it was, and what `edgegd calibration` found, where it was asked."""
    grown, curve = report["calibration_set"]["grown"], report["calibration_curve"]
    told: list[Block] = [Paragraph(f"Calibrated on {grown['reason']}.")] if grown else []
    return [*told, *(curve_blocks(curve) if curve else [])]
