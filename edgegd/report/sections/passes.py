"""What the passes of the edge file rewrote."""

from __future__ import annotations

from typing import Any

from edgegd.report.blocks import Block, Bullets, Table

TITLE = "Passes of the edge file"
READS = ("passes",)


def blocks(report: dict[str, Any]) -> list[Block]:
    """A line per pass of qat.edge.onnx; below, why places were refused."""
    passes = report["passes"]
    if not passes:
        return []
    rows = [[one["name"], one["applied"], len(one["refused"]), one["text"]] for one in passes]
    reasons = [f"{one['name']} left {address}: {reason}" for one in passes for address, reason in one["refused"]]
    table = Table(["pass", "applied", "refused", "what it does"], rows, ("left", "right", "right", "left"))
    return [table, *([Bullets(reasons)] if reasons else [])]
