"""torch against onnxruntime: detections and codes."""

from __future__ import annotations

from typing import Any

from edgegd.report.blocks import Block, Paragraph, Strong, Table
from edgegd.report.build import MAP_AGREEMENT_POINTS
from edgegd.report.words import TITLES, percent

TITLE = "Parity of torch and onnxruntime"
READS = ("parity", "ladder", "profiles", "torch_agreement")


def blocks(report: dict[str, Any]) -> list[Block]:
    """Detections of torch against onnxruntime, then codes, also of files for other profiles."""
    rows = [[TITLES[variant], *_boxes(parity)] for variant, parity in report["parity"].items()]
    headers = ["", "detections", "agree", "largest shift px", "largest score change"]
    return [
        Table(headers, rows),
        Paragraph(
            "Integer codes of torch under fake quantization against onnxruntime. One operation: torch repeats each "
            "operation on the codes that onnxruntime computed before it. By itself: each side runs the whole network."
        ),
        _codes_table(report),
        _agreement(report["torch_agreement"]),
    ]


def _agreement(agreement: dict[str, Any] | None) -> Paragraph:
    if agreement is None:
        return Paragraph(
            "mAP in torch is of the images on which the epoch was chosen, which are others than those reported on."
        )
    both = (
        f"mAP50-95 of the QAT model: {percent(agreement['torch'])} in torch under fake quantization, "
        f"{percent(agreement['onnxruntime'])} in onnxruntime; they differ by "
        f"{agreement['difference_points']:.2f} points"
    )
    if agreement["agree"]:
        return Paragraph(f"{both}.")
    return Paragraph(
        f"{both}, ",
        Strong(
            f"more than the {MAP_AGREEMENT_POINTS} expected: the codes above say where they part, or the "
            "validation set is so small that one box counts as much"
        ),
        ".",
    )


def _boxes(parity: dict[str, Any]) -> list[Any]:
    return [
        parity["detections"],
        f"{100 * parity['agreeing_share']:.2f} %",
        f"{parity['largest_shift_px']:.3g}",
        f"{parity['largest_score_change']:.2g}",
    ]


def _codes_table(report: dict[str, Any]) -> Table:
    files = {f"{variant}.onnx": ladder for variant, ladder in report["ladder"].items()}
    for variants in report["profiles"].values():
        files |= {entry["file"]: entry["ladder"] for entry in variants.values()}
    rows = []
    for name, ladder in files.items():
        compared = [(f"one operation, {rung}", codes) for rung, codes in ladder["one_operation"].items()]
        for what, codes in [*compared, ("by itself, optimized", ladder["whole"])]:
            rows.append(
                [
                    name,
                    what,
                    f"{codes['differing']} of {codes['codes']}",
                    codes["largest_distance"],
                    codes["first_differing"] or "none",
                ]
            )
    headers = ["file", "comparison", "codes that differ", "largest distance", "first tensor that differs"]
    return Table(headers, rows)
