"""Pictures as SVG by matplotlib, drawn without a display, with the colours of the page and text as text.

Equal pictures give equal bytes (of one matplotlib). Legends are the page's.
"""

from __future__ import annotations

import io
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from edgegd.foreign_text import one_line
from edgegd.report.inline_svg import GRID, MUTED, PALETTE
from edgegd.report.picture import Heat, Panel, Picture, Series

WIDTH = 720
"""Of every picture, in points; heights follow from the panels."""
DASHES: tuple[tuple[float, ...], ...] = ((), (6, 2), (2, 2), (6, 2, 2, 2), (10, 3), (1, 1))
"""Of the first series and so on: lines are told apart without colours."""
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "edgegd",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": False,
    "text.parse_math": False,
}
_HEIGHT, _HEAT, _ROW = 150, 300, 26
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 24, 12, 44
_CHARACTER = 6.2
_LONGEST_NAME = 44
Place = list[float]


def draw(picture: Picture) -> tuple[str, list[Place]]:
    """The picture as SVG, and where its panels are: left, top, right and bottom as shares of the picture, then the
    limits of x (left, right) and of y (bottom, top)."""
    heights = [_TOP + _height(panel) + _BOTTOM for panel in picture.panels]
    whole = sum(heights)
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(WIDTH / 72, whole / 72))
        figure.patch.set_visible(False)
        places, above = [], 0
        for panel, height in zip(picture.panels, heights, strict=True):
            left = _left(panel)
            box = (
                left / WIDTH,
                1 - (above + height - _BOTTOM) / whole,
                (WIDTH - left - _RIGHT) / WIDTH,
                _height(panel) / whole,
            )
            axis = figure.add_axes(box)
            _draw_panel(axis, panel)
            edges = [left / WIDTH, (above + _TOP) / whole, 1 - _RIGHT / WIDTH, (above + height - _BOTTOM) / whole]
            places.append([round(float(value), 6) for value in (*edges, *axis.get_xlim(), *axis.get_ylim())])
            above += height
        written = io.StringIO()
        FigureCanvasSVG(figure).print_svg(
            written, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return written.getvalue(), places


def colour_of(number: int) -> str:
    """The colour of the series of a number, from 0."""
    return PALETTE[number % len(PALETTE)]


def _height(panel: Panel) -> int:
    if panel.heat:
        return _HEAT
    return _ROW * len(panel.categories) + 8 if panel.categories else _HEIGHT


def _left(panel: Panel) -> float:
    names = [_short(name) for name in panel.categories]
    return max([_LEFT, *(12 + _CHARACTER * len(name) for name in names)])


def _short(text: str) -> str:
    name = one_line(text)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _draw_panel(axis: Axes, panel: Panel) -> None:
    axis.set_axisbelow(True)
    axis.tick_params(length=3, labelcolor="black", color=MUTED)
    for spine in axis.spines.values():
        spine.set_color(MUTED)
    axis.set(xlabel=panel.x_label, ylabel=panel.y_label)
    if panel.heat:
        _draw_heat(axis, panel.heat)
        return
    axis.grid(True, axis="x" if panel.categories or panel.marks_x else "y", color=GRID, linewidth=0.8)
    if panel.categories:
        _draw_categories(axis, panel)
    else:
        for number, series in enumerate(panel.series):
            _draw_series(axis, series, number)
    if panel.logarithmic:
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
    elif not panel.categories:
        axis.yaxis.set_major_locator(MaxNLocator(5))
    if panel.x_limits:
        axis.set_xlim(*panel.x_limits)
    if panel.y_limits:
        axis.set_ylim(*panel.y_limits)
    across = panel.categories or panel.marks_x
    for name, value in panel.marks:
        (axis.axvline if across else axis.axhline)(value, color=MUTED, linewidth=1, dashes=(4, 3))
        if name and not across:
            transform = axis.get_yaxis_transform()
            axis.text(1, value, name, transform=transform, ha="right", va="bottom", fontsize=10, color=MUTED)


def _draw_series(axis: Axes, series: Series, number: int) -> None:
    colour = colour_of(number)
    x, y = _numbers(series.x), _numbers(series.y)
    if series.kind == "bars":
        axis.bar(x, y, width=0.9 * float(x[1] - x[0]) if len(x) > 1 else 1.0, color=colour)
        axis.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        return
    if series.kind == "band" and series.low is not None and series.high is not None:
        axis.fill_between(x, _numbers(series.low), _numbers(series.high), color=colour, alpha=0.2, linewidth=0)
    # A single point has no line.
    marker = "o" if series.kind in ("points", "dots") or np.isfinite(y).sum() < 2 else None
    dashes = DASHES[number % len(DASHES)] or (None, None)
    width = 0.0 if series.kind == "dots" else 1.4
    axis.plot(x, y, color=colour, linewidth=width, dashes=dashes, marker=marker, markersize=4)


def _draw_categories(axis: Axes, panel: Panel) -> None:
    """Values along x, categories from above; intervals as bars, several series of a category below each other."""
    count = len(panel.series)
    for number, series in enumerate(panel.series):
        shift = 0.0 if count == 1 else 0.36 * (number / (count - 1) - 0.5)
        place, value = _numbers(series.x) + shift, _numbers(series.y)
        colour = colour_of(number)
        if series.low is not None and series.high is not None:
            axis.hlines(place, _numbers(series.low), _numbers(series.high), color=colour, linewidth=2)
        axis.scatter(
            value, place, color=colour, s=22 if series.kind == "points" else 9, marker="os^Dv<"[number % 6], zorder=3
        )
    axis.set_yticks(range(len(panel.categories)), [_short(name) for name in panel.categories])
    axis.set_ylim(len(panel.categories) - 0.5, -0.5)


def _draw_heat(axis: Axes, heat: Heat) -> None:
    values = np.array([_numbers(row) for row in heat.values])
    image = axis.imshow(values, aspect="auto", cmap="cividis", interpolation="nearest")
    axis.set_yticks([])
    ticks = np.unique(np.linspace(0, len(heat.x) - 1, min(len(heat.x), 8)).round().astype(int))
    axis.set_xticks(ticks, [f"{heat.x[tick]:g}" for tick in ticks])
    low, high = image.get_clim()
    text = f"dark {low:.3g}, bright {high:.3g}"
    axis.text(1, 1.0, text, transform=axis.transAxes, ha="right", va="bottom", fontsize=10, color=MUTED)


def _numbers(values: Any) -> Any:
    return np.array([np.nan if value is None else value for value in values], float)
