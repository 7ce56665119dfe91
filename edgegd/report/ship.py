"""Which of PTQ and QAT to ship, and how sure that is: the rule, its data in report.json, its words.

The rule: QAT is shipped where the 95 % interval of its mAP50-95 minus PTQ's lies above 0, otherwise PTQ, which needs no
labels and no training to be made again. With fewer than 20 labelled images PTQ is shipped, whatever the interval says,
because intervals from few images are too narrow: of two equally good models, 16 % of the sets of 4 images show a
difference, 7 to 8 % of those of 8 to 30, where 5 % is right (benchmarks/interval_coverage.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgegd.foreign_text import cell
from edgegd.report.table import table

FEWEST_IMAGES = 20
_MAPS = ("map50_95", "map50")
_TITLES = {"fp32": "FP32", "ptq": "PTQ", "qat": "QAT", "control": "Float control"}
_OPTIMISTIC = "The epoch of QAT was chosen on these same images, so the intervals are optimistic for QAT."
_APART = "The epoch of QAT was chosen on other images than these."
_AGAIN = "PTQ needs no labels and no training to be made again."


def ship(accuracy: dict[str, Any], descent: dict[str, Any], *, apart: bool = False) -> dict[str, Any]:
    """The verdict as data, from accuracy.json and descent.json; `apart`: QAT's epoch was chosen on other images.

    `model` is `ptq` or `qat`; `reason` is `qat_better`, `not_shown`, `ptq_better`, `few_images`, or `calibrated` (no
    epoch of QAT was better, so that its file is the calibrated model); `why` says it in words. `difference` is QAT's
    mAP50-95 minus PTQ's in 0..1 and `interval` [low, high] its interval at `level`, on `images`, of which
    `labelled_images` have a box. `optimistic_for_qat` says that QAT's epoch was chosen on these same images,
    `chosen_apart` that it was chosen on others. `vs_fp32`
    has for `ptq` and `qat` the `difference` to FP32, its `interval`, and whether they are `distinguishable`.
    `earned`, where a float control was trained (train.control), has the `control`'s difference to FP32 and that of
    `qat` to the control, likewise.
    """
    bootstrap, differences = accuracy["bootstrap"], accuracy["differences"]
    of_qat = differences["qat_vs_ptq"]["map50_95"]
    enough = bootstrap["labelled_images"] >= FEWEST_IMAGES
    vs_fp32 = {variant: differences[f"{variant}_vs_fp32"]["map50_95"] for variant in ("ptq", "qat")}
    reason = _reason(of_qat["interval"], descent["best_epoch"], enough)
    verdict = {
        "model": "qat" if reason == "qat_better" else "ptq",
        "reason": reason,
        "difference": of_qat["difference"],
        "interval": of_qat["interval"],
        "level": bootstrap["level"],
        "images": bootstrap["images"],
        "labelled_images": bootstrap["labelled_images"],
        "optimistic_for_qat": descent["best_epoch"] > 0 and not apart,
        "chosen_apart": apart,
        "vs_fp32": {variant: _told(of_pair, enough) for variant, of_pair in vs_fp32.items()},
    }
    if "qat_vs_control" in differences:
        pairs = {"control": "control_vs_fp32", "qat": "qat_vs_control"}
        verdict["earned"] = {name: _told(differences[pair]["map50_95"], enough) for name, pair in pairs.items()}
    return verdict | {"why": _why(verdict)}


def ship_lines(verdict: dict[str, Any]) -> list[str]:
    """The verdict in sentences, a line each: what to ship, how far to believe it, and the models against FP32."""
    models = ("ptq",) if verdict["reason"] == "calibrated" else ("ptq", "qat")
    return [
        verdict["why"],
        *([_OPTIMISTIC] if verdict["optimistic_for_qat"] else []),
        *([_APART] if verdict["chosen_apart"] else []),
        *(_against_fp32(variant, verdict) for variant in models),
        *_earned(verdict),
    ]


def ship_section(report: dict[str, Any]) -> str:
    """The verdict, mAP of each model with its interval, and the differences, in Markdown."""
    made = report["bootstrap"]
    models = [
        [_TITLES[variant], *(_points(accuracy[key], accuracy["intervals"][key]) for key in _MAPS)]
        for variant, accuracy in report["accuracy"].items()
    ]
    differences = [
        [_pair(name), *(_signed(maps[key]) for key in _MAPS)] for name, maps in report["differences"].items()
    ]
    method = (
        f"In brackets: {100 * made['level']:g} % intervals by the percentile bootstrap. {made['draws']} times "
        f"{made['images']} images were drawn with replacement (seed {made['seed']}), the same ones for all models. "
        "What makes an image hard for both models cancels in their difference, so compare models by it alone."
    )
    tables = [
        table(rows, [title, "mAP50-95", "mAP50"], "github")
        for title, rows in (("onnxruntime", models), ("difference in points", differences))
    ]
    return "\n\n".join([cell(" ".join(ship_lines(report["ship"])), "github"), *tables, method])


def signed_points(values: Sequence[float]) -> list[str]:
    """Differences of mAP in 0..1 as points with sign, with so many decimals that none but 0 itself reads as 0."""
    points = [100 * value for value in values]
    digits = next((digits for digits in (1, 2, 3) if all(round(value, digits) or not value for value in points)), 3)
    return [f"{value:+.{digits}f}" if value else "0.0" for value in points]


def _reason(interval: list[float], best_epoch: int, enough: bool) -> str:
    if best_epoch == 0:
        return "calibrated"
    if not enough:
        return "few_images"
    if interval[0] > 0:
        return "qat_better"
    return "ptq_better" if interval[1] < 0 else "not_shown"


def _why(verdict: dict[str, Any]) -> str:
    value, low, high = signed_points([verdict["difference"], *verdict["interval"]])
    level = f"{100 * verdict['level']:g} % interval {low} to {high}"
    measured = f"{value} points of mAP50-95 over PTQ on {verdict['images']} images ({level})"
    return {
        "calibrated": "Ship PTQ: the QAT file is the calibrated model, because no epoch was better.",
        "few_images": f"Ship PTQ: QAT is not shown to be better: {measured}, but only {verdict['labelled_images']} of "
        f"the images have labels, and fewer than {FEWEST_IMAGES} are too few to rely on the interval. "
        f"{_AGAIN}",
        "qat_better": f"Ship QAT: {measured}.",
        "ptq_better": f"Ship PTQ: QAT is worse: {measured}.",
        "not_shown": f"Ship PTQ: QAT is not shown to be better: {measured}, which includes 0. {_AGAIN}",
    }[verdict["reason"]]


def _against_fp32(variant: str, verdict: dict[str, Any]) -> str:
    of_pair = verdict["vs_fp32"][variant]
    value, low, high = signed_points([of_pair["difference"], *of_pair["interval"]])
    can = "can" if of_pair["distinguishable"] else "cannot"
    return (
        f"{_TITLES[variant]} {can} be distinguished from FP32 on these images: {value} points "
        f"({100 * verdict['level']:g} % interval {low} to {high})."
    )


def _told(of_pair: dict[str, Any], enough: bool) -> dict[str, Any]:
    return {**of_pair, "distinguishable": enough and _lacks_zero(of_pair["interval"])}


def _earned(verdict: dict[str, Any]) -> list[str]:
    """What the steps of QAT gain without quantization, and what is left for QAT."""
    if "earned" not in verdict:
        return []
    control, qat = verdict["earned"]["control"], verdict["earned"]["qat"]
    level = f"{100 * verdict['level']:g} % interval"
    steps, low, high = signed_points([control["difference"], *control["interval"]])
    rest, least, most = signed_points([qat["difference"], *qat["interval"]])
    can = "can" if qat["distinguishable"] else "cannot"
    return [
        f"The same steps on the float model change FP32 by {steps} points ({level} {low} to {high}), and QAT {can} be "
        f"distinguished from that control: {rest} points ({level} {least} to {most})."
    ]


def _points(value: float, interval: list[float]) -> str:
    return f"{100 * value:.1f} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def _signed(of_pair: dict[str, Any]) -> str:
    value, low, high = signed_points([of_pair["difference"], *of_pair["interval"]])
    return f"{value} [{low}, {high}]"


def _pair(name: str) -> str:
    first, second = name.split("_vs_")
    return f"{_TITLES[first]} - {_TITLES[second]}"


def _lacks_zero(interval: list[float]) -> bool:
    return interval[0] > 0 or interval[1] < 0
