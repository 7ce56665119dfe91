"""The machine and the versions that latency was measured with."""

from __future__ import annotations

from typing import Any

from edgegd.report.blocks import Block, Table

TITLE = "The machine"
READS = ("latency_conditions", "target")
_FACTS = {
    "cpu": "CPU",
    "instruction_sets": "instruction sets",
    "architecture": "architecture",
    "logical_cores": "logical cores",
    "usable_cores": "usable cores",
    "governor": "governor",
    "kernel": "kernel",
    "onnxruntime": "onnxruntime",
    "numpy": "numpy",
    "python": "Python",
}


def blocks(report: dict[str, Any]) -> list[Block]:
    """Where latency was measured, and the target profile."""
    found, target = report["latency_conditions"]["fingerprint"], report["target"]
    rows = [["target", target["host"]], ["profile", target["profile"]]]
    rows += [[title, _shown(found[key])] for key, title in _FACTS.items() if found.get(key) is not None]
    return [Table(["what", "found"], rows)]


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
