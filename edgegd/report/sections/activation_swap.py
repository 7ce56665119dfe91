"""The choice of activations and the adaptation to it."""

from __future__ import annotations

from typing import Any

from edgegd.detectors.activation_swap import ActivationSwap
from edgegd.report.activation_swap import explain_swap
from edgegd.report.sections.descent import epochs_table
from edgegd.report.words import percent

TITLE = "The activation swap"


def text(report: dict[str, Any]) -> str:
    """The choice of activations and the adaptation to it; nothing where the recipe swapped none."""
    if "swap" not in report:
        return ""
    adaptation = report["swap"]["adaptation"]
    beside = (
        f"Before the first step of the adaptation the swapped model had mAP50-95 "
        f"{percent(adaptation['start_map50_95'])}, the kept one has {percent(adaptation['best_map50_95'])} "
        f"(torch, float); FP32 with its SiLUs {percent(report['accuracy']['fp32']['map50_95'])} in onnxruntime."
    )
    kept = (
        "No epoch was better than the swapped model before the first step, which was kept."
        if adaptation["best_epoch"] == 0
        else f"Epoch {adaptation['best_epoch']} was the best and was kept."
    )
    choice = explain_swap(ActivationSwap.from_data(report["swap"]["choice"]), "github")
    return "\n\n".join([choice, epochs_table(adaptation, "torch, float"), f"{kept} {beside}"])
