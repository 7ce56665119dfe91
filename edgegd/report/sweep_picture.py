"""A search as a picture: the objectives of its trials and the front of the best, or one objective over the trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edgegd.report.svg_file import svg_bytes
from edgegd.report.sweep import shown_objective


def search_picture(result: Mapping[str, Any]) -> bytes:
    """`search_figure` as SVG."""
    return svg_bytes(search_figure(result))


def search_figure(result: Mapping[str, Any]) -> Figure:
    """Every finished trial as a point: of several objectives each against the first, with the front as a line."""
    objectives, trials = result["objectives"], [one for one in result["trials"] if one["objectives"]]
    panels = max(1, len(objectives) - 1)
    figure = Figure(figsize=(7.0, 3.8 * panels), layout="constrained")
    axes = figure.subplots(panels, 1, squeeze=False)[:, 0]
    if len(objectives) == 1:
        _draw(axes[0], result, trials, [one["number"] for one in trials], _of(objectives, trials, 0), in_front=False)
        axes[0].set(xlabel="trial", ylabel=_label(objectives[0]))
    for axis, index in zip(axes, range(1, len(objectives)), strict=False):
        _draw(
            axis,
            result,
            trials,
            _of(objectives, trials, index),
            _of(objectives, trials, 0),
            in_front=len(objectives) == 2,
        )
        axis.set(xlabel=_label(objectives[index]), ylabel=_label(objectives[0]))
    return figure


def _draw(
    axis: Axes,
    result: Mapping[str, Any],
    trials: Sequence[Mapping[str, Any]],
    x: Sequence[float],
    y: Sequence[float],
    *,
    in_front: bool,
) -> None:
    best = [place for place, one in enumerate(trials) if one["number"] in result["best"]]
    others = [place for place in range(len(trials)) if place not in best]
    axis.scatter([x[i] for i in others], [y[i] for i in others], s=22, color="tab:grey", label="trials")
    axis.scatter([x[i] for i in best], [y[i] for i in best], s=34, color="tab:blue", zorder=3, label="best trials")
    if in_front:
        line = sorted((x[i], y[i]) for i in best)
        axis.plot([a for a, _ in line], [b for _, b in line], color="tab:blue", linewidth=1, drawstyle="steps-post")
    for place, one in enumerate(trials):
        if one["number"] == result["own"]:
            axis.scatter(
                [x[place]], [y[place]], s=90, facecolors="none", edgecolors="tab:orange", label="the recipe as it is"
            )
        if place in best:
            axis.annotate(str(one["number"]), (x[place], y[place]), (4, 4), textcoords="offset points", fontsize=8)
    axis.margins(0.08)
    axis.grid(True, color="whitesmoke")
    axis.set_axisbelow(True)
    axis.legend(fontsize=8, frameon=False)


def _of(objectives: Sequence[Mapping[str, Any]], trials: Sequence[Mapping[str, Any]], index: int) -> list[float]:
    return [shown_objective(objectives[index], one["objectives"][index]) for one in trials]


def _label(objective: Mapping[str, Any]) -> str:
    unit = objective["unit"] or ("%" if "map50" in objective["name"] else "")
    return f"{objective['name']}, {unit}" if unit else str(objective["name"])
