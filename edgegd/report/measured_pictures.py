"""Pictures of what was measured: mAP with its intervals, paired latencies, the weakest ranges."""

from __future__ import annotations

from typing import Any

from edgegd.report.build import FILES
from edgegd.report.picture import Panel, Picture, Series, rounded
from edgegd.report.ship import MODEL_TITLES, pair_title

_MAPS = {"map50_95": "mAP50-95", "map50": "mAP50"}


def accuracy_picture(report: dict[str, Any]) -> Picture:
    """mAP of each model with its interval, and the differences, in points."""
    models = list(report["accuracy"].values())
    pairs = list(report["differences"].values())
    of_models = [
        _interval(title, [one[key] for one in models], [one["intervals"][key] for one in models])
        for key, title in _MAPS.items()
    ]
    of_pairs = [
        _interval(title, [one[key]["difference"] for one in pairs], [one[key]["interval"] for one in pairs])
        for key, title in _MAPS.items()
    ]
    panels = [
        Panel("mAP", series=of_models, categories=[MODEL_TITLES[name] for name in report["accuracy"]]),
        Panel(
            "difference in points",
            series=of_pairs,
            categories=list(map(pair_title, report["differences"])),
            marks=[("", 0.0)],
        ),
    ]
    text = (
        f"With {100 * report['bootstrap']['level']:g} % intervals by the bootstrap of images. A difference is shown "
        "where its interval lies on one side of 0."
    )
    return Picture("accuracy", "mAP with intervals", text, panels)


def latency_picture(report: dict[str, Any]) -> Picture:
    """How many times as fast as FP32 each file is, with its interval, and every pair of blocks."""
    files = [name for name in FILES if name != "fp32"]
    measured = [report["latency"][name] for name in files]
    bounds = [[one[key] for key in ("speedup_low", "speedup_high")] for one in measured]
    intervals = _interval("median with its interval", [one["speedup"] for one in measured], bounds, factor=1.0)
    series = [intervals]
    if pairs := report.get("latency_pairs"):
        found = [(number, ratio) for number, name in enumerate(files) for ratio in pairs.get(name, [])]
        series.append(Series("pairs of blocks", [at for at, _ in found], rounded([ratio for _, ratio in found])))
    categories = [FILES[name] for name in files]
    panel = Panel("times as fast as FP32", series=series, categories=categories, marks=[("", 1.0)])
    text = "FP32's time by each file's, of blocks that were run beside each other: right of 1 is faster."
    return Picture("latency", "Speed beside FP32", text, [panel])


def weakest_picture(report: dict[str, Any]) -> Picture:
    """The signal over quantization noise of the weakest ranges."""
    weakest = report["weakest_ranges"]
    values = rounded([one["sqnr_db"] for one in weakest])
    series = Series("SQNR", list(range(len(weakest))), values, "points")
    panel = Panel("SQNR dB", series=[series], categories=[one["group"] for one in weakest])
    text = "The lower, the more of the tensor is quantization noise; 6 dB are one bit."
    return Picture("weakest-ranges", "The weakest ranges", text, [panel])


def _interval(title: str, values: list[float], bounds: list[list[float]], *, factor: float = 100.0) -> Series:
    """Values in 0..1 with their intervals as points."""
    low, high = ([factor * one[side] for one in bounds] for side in (0, 1))
    numbers = list(range(len(values)))
    return Series(title, numbers, rounded([factor * value for value in values]), "points", rounded(low), rounded(high))
