"""The run's edge file and FP32 beside other runtimes, where `edgegd latency --beside` measured them."""

from __future__ import annotations

from typing import Any

from edgegd.report.beside import beside_sentences, beside_table
from edgegd.report.blocks import Block, Paragraph

TITLE = "Beside other runtimes"
READS = ("beside",)


def blocks(report: dict[str, Any]) -> list[Block]:
    """The sentences, the table, and how it was measured; empty where nothing was."""
    results = report["beside"]
    if not results:
        return []
    cpus = "; ".join(
        f"{target}: {stored['fingerprint']['cpu']}, onnxruntime {stored['fingerprint']['onnxruntime']}"
        for target, stored in results.items()
    )
    how = (
        "All models take turns in the same launches; speed is the edge file's time by theirs; brackets hold 95 % "
        "intervals. Other runtimes run the float checkpoint as Ultralytics exports it, with their own defaults. Their "
        "mAP is measured on the images that this run reports on, on the machine that exported them."
    )
    sentences = Paragraph(" ".join(beside_sentences(results)))
    return [sentences, beside_table(results), Paragraph(f"{cpus}. ", how)]
