"""The choice of activations and the adaptation to it."""

from __future__ import annotations

from typing import Any

from edgegd.report.activation_swap import swap_blocks
from edgegd.report.blocks import Block, Paragraph
from edgegd.report.descent_pictures import step_pictures
from edgegd.report.sections.descent import epochs_table
from edgegd.report.words import percent

TITLE = "The activation swap"
READS = ("settings",)


def blocks(report: dict[str, Any]) -> list[Block]:
    """The choice of activations and the adaptation to it; nothing where the recipe swapped none."""
    if "swap" not in report:
        return []
    from edgegd.detectors.activation_swap import ActivationSwap  # needs torch, which other runs do without

    adaptation = report["swap"]["adaptation"]
    fp32 = f"; FP32 with its SiLUs {percent(report['accuracy']['fp32']['map50_95'])} in onnxruntime"
    beside = (
        f"Before the first step of the adaptation the swapped model had mAP50-95 "
        f"{percent(adaptation['start_map50_95'])}, the kept one has {percent(adaptation['best_map50_95'])} "
        f"(torch, float){fp32 if 'accuracy' in report else ''}."
    )
    kept = (
        "No epoch was better than the swapped model before the first step, which was kept."
        if adaptation["best_epoch"] == 0
        else f"Epoch {adaptation['best_epoch']} was the best and was kept."
    )
    choice = swap_blocks(ActivationSwap.from_data(report["swap"]["choice"]))
    found: list[Block] = [*choice, epochs_table(adaptation, "torch, float"), Paragraph(f"{kept} {beside}")]
    if steps := report.get("adaptation_steps"):
        maps = {"start_map50_95": adaptation["start_map50_95"], "prefix": "adaptation-"}
        found += step_pictures(steps, report["settings"]["train"], adaptation["epochs"], **maps)
    return found
