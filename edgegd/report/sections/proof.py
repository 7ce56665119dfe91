"""On which CPU, and how, codes were checked."""

from __future__ import annotations

from typing import Any

from edgegd.report.blocks import Block, Table

TITLE = "What was proved where"
READS = ("proof", "profiles")


def blocks(report: dict[str, Any]) -> list[Block]:
    """For the run's own files and those of other profiles: on which CPU and how codes were checked, what is left."""
    own = report["proof"]["codes"]
    rows = [[own["profile"], "ptq.onnx, qat.onnx", own]]
    for variants in report["profiles"].values():
        entries = list(variants.values())
        rows.append(
            [entries[0]["proof"]["profile"], ", ".join(entry["file"] for entry in entries), entries[0]["proof"]]
        )
    shown = [
        [profile, files, proof["cpu"], proof["arithmetic"], "; ".join(proof["not_proved"]) or "nothing"]
        for profile, files, proof in rows
    ]
    headers = ["profile", "files", "checked on", "codes computed by", "not proved here"]
    return [Table(headers, shown)]
