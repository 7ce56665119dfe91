"""Draws the README's picture: mAP against milliseconds of one set, from benchmarks/results/pareto.json.

    python benchmarks/result_picture.py

The picture is docs/map_vs_ms.svg. Its description holds the points that were drawn, so that a test can compare them
with the results without drawing again: what matplotlib writes differs between its versions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import matplotlib
from pareto import Point, points_of
from result_file import ROOT, ResultFile

matplotlib.use("svg")
from matplotlib import pyplot

PICTURE = ROOT / "docs/map_vs_ms.svg"
SET = "bccd"


class Shown(NamedTuple):
    """How a point is shown: its label, the label's place in points of type beside the marker, its colour and marker."""

    label: str
    place: tuple[float, float]
    color: str
    marker: str


SHOWN = {
    "edgegd auto edge": Shown("edgegd, SiLU and ReLU", (8, 4), "tab:blue", "o"),
    "edgegd relu edge": Shown("edgegd, ReLU", (-4, -14), "tab:blue", "o"),
    "ultralytics-fp32": Shown("FP32 in onnxruntime", (8, 4), "black", "s"),
    "onnxruntime-entropy": Shown("quantize_static", (8, -4), "tab:green", "^"),
    "ultralytics-ptq": Shown("Ultralytics PTQ", (-4, -18), "tab:orange", "D"),
    "ultralytics-qat": Shown("Ultralytics QAT", (8, -4), "tab:orange", "D"),
}
"""The files of the picture, by the names of their points; the table of pareto.py has all files."""


def shown_points() -> list[Point]:
    """The points of the picture, fastest first; ValueError where the results lack one."""
    points = [point for point in points_of(ResultFile("pareto").find(set=SET)) if point.name in SHOWN]
    if lacking := SHOWN.keys() - {point.name for point in points}:
        raise ValueError(f"pareto.json has no {sorted(lacking)} of {SET}")
    return points


def description(points: Sequence[Point]) -> str:
    """The points as JSON: name -> median latency in ms and mAP50-95 in percent, as in the tables."""
    return json.dumps({point.name: [round(point.median_ms, 2), round(100 * mean(point.maps), 2)] for point in points})


def described(picture: Path = PICTURE) -> str:
    """The description inside a picture."""
    found = re.search(r"<dc:description>(.*?)</dc:description>", picture.read_text(encoding="utf-8"), re.DOTALL)
    return found[1].replace("&quot;", '"').strip() if found else ""


def draw(points: Sequence[Point], path: Path) -> None:
    """One diagram on a white ground, which GitHub's dark theme needs; seeds are a bar from least to best."""
    matplotlib.rcParams |= {"svg.hashsalt": "edgegd", "font.size": 11}
    figure, axis = pyplot.subplots(figsize=(8, 3.6), layout="constrained")
    for point in points:
        label, place, color, marker = SHOWN[point.name]
        height, values = 100 * mean(point.maps), [100 * value for value in point.maps]
        axis.errorbar(
            point.median_ms,
            height,
            [[height - min(values)], [max(values) - height]],
            color=color,
            marker=marker,
            markersize=8,
            capsize=3,
            linestyle="none",
        )
        axis.annotate(
            f"{label}: {point.median_ms:.1f} ms, {height:.1f}",
            (point.median_ms, height),
            place,
            textcoords="offset points",
            color=color,
            ha="left" if place[0] > 0 else "center",
        )
    axis.set(
        title="YOLO26n on BCCD, 320 px, one thread, onnxruntime",
        xlabel="median latency, ms (left is better)",
        ylabel="mAP50-95 (up is better)",
    )
    axis.set_xlim(0, 46)
    axis.margins(y=0.15)
    axis.grid(True, color="whitesmoke")
    figure.savefig(path, metadata={"Date": None, "Description": description(points)})
    pyplot.close(figure)


if __name__ == "__main__":
    draw(shown_points(), PICTURE)
