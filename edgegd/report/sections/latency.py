"""Latency on the target, in pairs."""

from __future__ import annotations

from typing import Any

from edgegd.report.blocks import Block, Table
from edgegd.report.build import FILES
from edgegd.report.measured_pictures import latency_picture

TITLE = "Latency"
READS = ("latency",)


def blocks(report: dict[str, Any]) -> list[Block]:
    """Percentiles of every file, and its speed beside FP32."""
    rows = [
        [
            FILES[name],
            *(f"{one[key]:.2f}" for key in ("median_ms", "p90_ms", "p99_ms")),
            one["samples"],
            f"{one['speedup']:.2f}x [{one['speedup_low']:.2f}, {one['speedup_high']:.2f}]",
        ]
        for name, one in report["latency"].items()
    ]
    headers = ["onnxruntime", "median ms", "p90 ms", "p99 ms", "inferences", "speed vs FP32"]
    return [Table(headers, rows, ("left",) + ("right",) * 5), latency_picture(report)]
