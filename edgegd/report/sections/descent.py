"""The descent: why it went as it did, epoch by epoch, and step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgegd.report.blocks import Block, Drawing, Paragraph, Table
from edgegd.report.descent_pictures import probe_pictures, seconds_table, step_pictures
from edgegd.report.telemetry import Steps
from edgegd.report.words import percent

TITLE = "The descent"
READS = ("settings",)
_CHOSEN = {
    "shared": "The epoch was chosen on the same images on which everything is reported.",
    "test": "The epoch was chosen on the validation images; everything is reported on the test images.",
    "holdout": "The epoch was chosen on training images held out; everything is reported on the validation images.",
}


def blocks(report: dict[str, Any]) -> list[Block]:
    """The diagnosis, the table of epochs and which of them was kept, the telemetry, and what analyses found.

    In the middle of a training there is what there is so far.
    """
    found: list[Block] = _diagnosis(report)
    descent = report.get("descent", {})
    if descent.get("epochs"):
        found.append(epochs_table(descent, "torch, fake-quantized"))
    if "best_epoch" in descent and "accuracy" in report:
        found.append(Paragraph(_kept(report)))
    steps = report.get("steps")
    if steps is not None:
        found += _telemetry(steps, report)
    return [*found, *(Drawing(**one) for one in report.get("analyses", ()))]


def epochs_table(descent: Mapping[str, Any], how: str) -> Table:
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
    return Table(["epoch", "loss", *descent["epochs"][0]["parts"], "learning rate", f"mAP50-95 ({how})"], rows)


def _diagnosis(report: Mapping[str, Any]) -> list[Block]:
    if "diagnosis" not in report:
        return []
    findings = report["diagnosis"]
    if not findings:
        return [Paragraph("No rule of the diagnosis found anything that would need a change.")]
    rows = [
        [
            _rule(one),
            one["sentence"],
            "; ".join(f"{name} {_short(value)}" for name, value in one["evidence"].items()),
            _short(one["threshold"]),
            one["change"],
        ]
        for one in findings
    ]
    return [Table(["rule", "finding", "evidence", "threshold", "what to change"], rows)]


def _rule(finding: Mapping[str, Any]) -> str:
    """The rule's name, with its kind and whose descent it is about where these are said."""
    about = [finding.get("kind", ""), "adaptation" if finding.get("descent") == "adapt" else ""]
    words = ", ".join(filter(None, about))
    return f"{finding['rule']} ({words})" if words else str(finding["rule"])


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_short(inner)}" for name, inner in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _kept(report: Mapping[str, Any]) -> str:
    descent, selection = report["descent"], report["selection"]
    best = (
        "No epoch was better than the calibrated model, which was kept."
        if descent["best_epoch"] == 0
        else f"Epoch {descent['best_epoch']} was the best and was kept."
    )
    missing = f" {descent['unrecorded']}." if descent.get("unrecorded") else ""
    fp32 = percent(report["accuracy"]["fp32"]["map50_95"])
    start = f"the calibrated model before the first step {percent(descent['start_map50_95'])} (torch, fake-quantized)"
    beside = f"For comparison, mAP50-95: {f'FP32 in onnxruntime {fp32}, ' if selection == 'shared' else ''}{start}."
    return f"{best} {beside} {_CHOSEN.get(selection, '')}{missing}"


def _telemetry(steps: Steps, report: Mapping[str, Any]) -> list[Block]:
    if not steps.rows:
        why = steps.problem or "descent.jsonl is not in this folder: it was removed, or made by an earlier version"
        return [Paragraph(f"There is no telemetry of the steps. {why}.")]
    settings, descent = report["settings"]["train"], report.get("descent", {})
    shared = report.get("selection") == "shared" and "accuracy" in report
    fp32 = report["accuracy"]["fp32"]["map50_95"] if shared else None
    maps = {"start_map50_95": descent.get("start_map50_95"), "fp32": fp32}
    found: list[Block] = [*step_pictures(steps, settings, descent.get("epochs", ()), **maps)]
    if seconds := seconds_table(steps):
        found.append(seconds)
    found += probe_pictures(steps, settings)
    if not steps.probes:
        text = "No step was probed (train.probe_every): nothing is known of layers, ranges, noise and step lengths."
        found.append(Paragraph(text))
    return [*found, *([Paragraph(f"{steps.problem}.")] if steps.problem else [])]
