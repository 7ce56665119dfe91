"""Words and numbers that several parts of the report use."""

from __future__ import annotations

TITLES = {"fp32": "FP32", "ptq": "INT8 PTQ", "qat": "INT8 QAT"}
"""Variant -> what a table calls it."""


def percent(value: float | None) -> str:
    """A mAP of 0..1 as points with one decimal; a dash where there is none."""
    return "-" if value is None else f"{100 * value:.1f}"
