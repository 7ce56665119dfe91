"""The descent, epoch by epoch."""

from __future__ import annotations

from typing import Any

from edgegd.foreign_text import cell
from edgegd.report.table import table
from edgegd.report.words import percent

TITLE = "The descent"
_CHOSEN = {
    "shared": "The epoch was chosen on the same images on which everything is reported.",
    "test": "The epoch was chosen on the validation images; everything is reported on the test images.",
    "holdout": "The epoch was chosen on training images held out; everything is reported on the validation images.",
}


def text(report: dict[str, Any]) -> str:
    """The table of epochs, and which of them was kept."""
    descent, selection = report["descent"], report["selection"]
    best = (
        "No epoch was better than the calibrated model, which was kept."
        if descent["best_epoch"] == 0
        else f"Epoch {descent['best_epoch']} was the best and was kept."
    )
    missing = f" {cell(descent['unrecorded'], 'github')}." if descent.get("unrecorded") else ""
    fp32 = percent(report["accuracy"]["fp32"]["map50_95"])
    start = f"the calibrated model before the first step {percent(descent['start_map50_95'])} (torch, fake-quantized)"
    beside = f"For comparison, mAP50-95: {f'FP32 in onnxruntime {fp32}, ' if selection == 'shared' else ''}{start}."
    return f"{epochs_table(descent, 'torch, fake-quantized')}\n\n{best} {beside} {_CHOSEN.get(selection, '')}{missing}"


def epochs_table(descent: dict[str, Any], how: str) -> str:
    """A line per epoch of a descent; `how` says how its mAP was measured."""
    rows = [
        [
            e["epoch"],
            f"{e['loss']:.4f}",
            *(f"{v:.4f}" for v in e["parts"].values()),
            f"{e['lr']:.2e}",
            percent(e["map50_95"]),
        ]
        for e in descent["epochs"]
    ]
    headers = ["epoch", "loss", *descent["epochs"][0]["parts"], "learning rate", f"mAP50-95 ({how})"]
    return table(rows, headers, "github")
