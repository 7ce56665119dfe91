"""Which convolutions run in integers."""

from __future__ import annotations

from typing import Any

from edgegd.report.blocks import Block, Paragraph, Table
from edgegd.report.words import TITLES

TITLE = "Census of the kernels"
READS = ("census",)


def blocks(report: dict[str, Any]) -> list[Block]:
    """Convolutions of each quantized file in onnxruntime's optimized graph."""
    rows = [
        [TITLES[variant], one["int8_convs"], one["float_convs"], one["planned_float_convs"]]
        for variant, one in report["census"].items()
    ]
    text = "Convolutions in the graph that onnxruntime runs, after its own optimizations."
    headers = ["", "in integers", "in float", "planned in float"]
    return [Paragraph(text), Table(headers, rows, ("left", "right", "right", "right"))]
