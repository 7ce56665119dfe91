"""Operating points for people: what a model does at a threshold, beside FP32, and which thresholds keep what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgegd.report.blocks import Block, Paragraph, Table
from edgegd.report.picture import Panel, Picture, Series, rounded
from edgegd.report.ship import MODEL_TITLES


def operating_sentence(result: Mapping[str, Any]) -> str:
    """What the data support: both models at the threshold, and the thresholds that keep FP32's precision or recall."""
    overall, model = result["classes"][0], MODEL_TITLES[result["model"]]
    at, kept = overall["at"], overall["keeping"]
    told = [
        f"At scores above {result['conf']:g}, {model} has a precision of {_share(at['model']['precision'])} and a "
        f"recall of {_share(at['model']['recall'])} on {result['images']} images, FP32 "
        f"{_share(at['reference']['precision'])} and {_share(at['reference']['recall'])}."
    ]
    told += [
        f"FP32's {what} is kept at {kept[what]['threshold']:.3f}."
        if kept[what]
        else f"No threshold keeps FP32's {what}."
        for what in ("precision", "recall")
    ]
    return " ".join(told)


def operating_blocks(result: Mapping[str, Any]) -> list[Block]:
    """The sentence, then tables: at the threshold, thresholds to use, scores, sizes; the free-response curve drawn."""
    model = MODEL_TITLES[result["model"]]
    height, width = result["input_size"]
    return [
        Paragraph(result["sentence"]),
        _at(result, model),
        _thresholds(result, model),
        _shifts(result, model),
        _free_response(result, model),
        _curve(result, model),
        _sizes(result, model),
        Paragraph(
            f"A detection is true that overlaps a labelled box by IoU {result['iou']:g}. In brackets: 95 % intervals "
            "by a bootstrap over images, none with fewer than 20 that have labels; of differences both models are on "
            "the same images. Thresholds were found on the images that are shown, so what they keep is optimistic. "
            f"Sizes are in pixels of the network's input ({height} x {width}): small below 32 x 32, large from "
            "96 x 96."
        ),
    ]


def _at(result: Mapping[str, Any], model: str) -> Table:
    rows = []
    for one in result["classes"]:
        own, other, differences = one["at"]["model"], one["at"]["reference"], one["difference_intervals"]
        cells = [_name(one), str(one["boxes"])]
        for what in ("precision", "recall"):
            cells += [_rate(other, what), _rate(own, what), _difference(own[what], other[what], differences[what])]
        rows.append(cells)
    of = [f"{what} {who}" for what in ("precision", "recall") for who in ("FP32", model, "difference")]
    return Table([f"above {result['conf']:g}", "boxes", *of], rows)


def _thresholds(result: Mapping[str, Any], model: str) -> Table:
    rows = [
        [
            _name(one),
            *(_kept(one["keeping"][what]) for what in ("precision", "recall", "f1")),
            _kept(one["reference_f1"]),
        ]
        for one in result["classes"]
    ]
    headers = [f"{model} at", "keeps FP32's precision", "keeps FP32's recall", "best F1", "FP32's best F1"]
    return Table(headers, rows)


def _shifts(result: Mapping[str, Any], model: str) -> Table:
    rows = []
    for one in result["classes"]:
        shift = one["shift"]
        quantiles = [f"{value:+.3f}" for value in shift["quantiles"]] if shift["quantiles"] else ["-"] * 5
        rows.append([_name(one), str(shift["boxes"]), *quantiles, str(shift["lost"]), str(shift["won"])])
    headers = [f"score, {model} - FP32", "boxes of both", "5 %", "25 %", "median", "75 %", "95 %", "lost", "won"]
    return Table(headers, rows)


def _free_response(result: Mapping[str, Any], model: str) -> Table:
    curves = result["free_response"]
    rows = [
        [f"{other['false_per_image']:g}", _sensitivity(other), _sensitivity(own)]
        for other, own in zip(curves[result["reference"]], curves[result["model"]], strict=True)
    ]
    return Table(["false detections per image, up to", "sensitivity FP32", f"sensitivity {model}"], rows)


def _curve(result: Mapping[str, Any], model: str) -> Picture:
    series = []
    for kind, name in ((result["reference"], "FP32"), (result["model"], model)):
        rows = result["free_response"][kind]
        bounds = [row["interval"] or (None, None) for row in rows]
        low, high = (rounded(side) for side in zip(*bounds, strict=True))
        at = [row["false_per_image"] for row in rows]
        series.append(Series(name, at, rounded([row["sensitivity"] for row in rows]), "points", low, high))
    return Picture(
        "free-response",
        "Free-response curve",
        "The share of the labelled boxes that is found, at the threshold that leaves at most so many false detections "
        "per image; with 95 % intervals of each.",
        [Panel("false detections per image", "sensitivity", series, y_limits=(0, 1))],
    )


def _sizes(result: Mapping[str, Any], model: str) -> Table:
    rows = [
        [
            one["size"],
            str(one["boxes"]),
            _points(one["reference"]),
            _points(one["map50_95"]),
            _difference(one["map50_95"], one["reference"], one["interval"]),
        ]
        for one in result["sizes"]
    ]
    return Table(["size of objects", "boxes", "mAP50-95 FP32", f"mAP50-95 {model}", "difference"], rows)


def _name(one: Mapping[str, Any]) -> str:
    return "all classes" if one["class_id"] is None else str(one["name"])


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _points(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _brackets(interval: Any, form: str = ".1f") -> str:
    return "" if interval is None else f" [{100 * interval[0]:{form}}, {100 * interval[1]:{form}}]"


def _rate(rates: Mapping[str, Any], what: str) -> str:
    return _points(rates[what]) + _brackets(rates[f"{what}_interval"])


def _difference(own: float | None, other: float | None, interval: Any) -> str:
    return "-" if own is None or other is None else f"{100 * (own - other):+.1f}{_brackets(interval, '+.1f')}"


def _kept(rates: Mapping[str, Any] | None) -> str:
    """The threshold, and precision and recall there."""
    if rates is None:
        return "none"
    return f"{rates['threshold']:.3f} ({_points(rates['precision'])}, {_points(rates['recall'])})"


def _sensitivity(row: Mapping[str, Any]) -> str:
    return _points(row["sensitivity"]) + _brackets(row["interval"])
