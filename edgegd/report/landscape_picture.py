"""The mountain as a picture: the loss over the plane in float and quantized, the path on it, a cut along one step."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_COLORS = {"float": "tab:blue", "quantized": "tab:orange"}
_NAMES = {"float": "in float", "quantized": "under fake quantization"}
_MARKERS = {"start": ("o", "start"), "best": ("*", "best epoch"), "last": ("s", "last step")}
_LEVELS = 14
_MARKED = 64
"""Points of a path: more would be a thick line."""


def landscape_svg(found: dict[str, Any]) -> bytes:
    """The picture of descent-landscape.json as SVG, the same bytes for the same data and matplotlib."""
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "edgegd", "font.size": 9}):
        figure = landscape_figure(found)
        out = io.BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def landscape_figure(found: dict[str, Any]) -> Figure:
    """Two maps with one colour scale above, the cut below."""
    figure = Figure(figsize=(9.0, 7.4), layout="constrained")
    panels: Any = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    above, below = panels
    maps: Any = above.subplots(1, 2, sharex=True, sharey=True)
    surfaces = {form: np.array(rows, dtype=float) for form, rows in found["grid"]["losses"].items()}
    known = np.concatenate([surface[np.isfinite(surface)] for surface in surfaces.values()])
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    image = None
    for axis, (form, surface) in zip(maps, surfaces.items(), strict=True):
        image = _draw_map(axis, found, surface, (low, high if high > low else low + 1))
        axis.set_title(_NAMES[form])
        axis.set_xlabel(_axis_name(found, 0))
    maps[0].set_ylabel(_axis_name(found, 1))
    handles, labels = maps[0].get_legend_handles_labels()
    above.legend(handles, labels, fontsize=7, loc="outside upper center", ncols=len(labels))
    above.colorbar(image, ax=maps, label=f"loss of {found['images']} images")
    _draw_cut(below.subplots(), found["cut"])
    return figure


def _axis_name(found: dict[str, Any], which: int) -> str:
    towards = found["axes"][which]["towards"]
    names = {"best": "towards the best epoch", "last": "towards the last step, across", "": "a random direction"}
    if which == 0 and towards == "last":
        return "towards the last step, % of every filter"
    return f"{names[towards]}, % of every filter"


def _draw_map(axis: Axes, found: dict[str, Any], surface: np.ndarray, scale: tuple[float, float]) -> Any:
    xs, ys = (100 * np.array(found["grid"][name]) for name in "xy")
    half = [(values[-1] - values[0]) / (len(values) - 1) / 2 for values in (xs, ys)]
    extent = (xs[0] - half[0], xs[-1] + half[0], ys[0] - half[1], ys[-1] + half[1])
    image = axis.imshow(
        surface, extent=extent, origin="lower", aspect="auto", cmap="viridis", vmin=scale[0], vmax=scale[1]
    )
    if np.isfinite(surface).all() and surface.max() > surface.min():
        levels = np.linspace(*scale, _LEVELS)
        axis.contour(xs, ys, surface, levels=levels, colors="white", linewidths=0.5, alpha=0.7)
    way = found["path"]
    if way:
        for kind, style, label in (("weights", "-", "weights, step by step"), ("average", ":", "their average")):
            x, y = (100 * np.array(way[kind][name]) for name in "xy")
            marker = "." if len(x) <= _MARKED else ""
            axis.plot(x, y, style, color="black", linewidth=1.0, marker=marker, markersize=2, label=label)
    for name, point in found["points"].items():
        marker, label = _MARKERS[name]
        place = (100 * point["x"], 100 * point["y"])
        size = 11 if marker == "*" else 6
        axis.plot(*place, marker, color="tab:red", markeredgecolor="white", markersize=size, label=label)
    return image


def _draw_cut(axis: Axes, cut: dict[str, Any]) -> None:
    """Both curves less their own value where the step begins, and the parabola of the step's length."""
    ts = np.array(cut["t"])
    for form, losses in cut["losses"].items():
        values = np.array(losses, dtype=float)
        values = values - np.interp(0.0, ts, values)
        axis.plot(ts, values, color=_COLORS[form], linewidth=1, marker=".", markersize=2.5, label=_NAMES[form])
    length = cut["step_length"]
    if length.get("parabola"):
        _, slope, bend = length["parabola"]
        axis.plot(ts, slope * ts + bend * ts**2, "--", color="dimgrey", linewidth=1, label="the parabola")
    for t in (0, 1):
        axis.axvline(t, color="lightgrey", linewidth=0.8, zorder=0)
    axis.set_title("; ".join(_step_text(cut)), fontsize=9)
    axis.set(xlabel="along the step: 0 before it, 1 after it", ylabel="loss less that before the step")
    axis.legend(fontsize=7)
    axis.grid(True, axis="y", color="whitesmoke")


def _step_text(cut: dict[str, Any]) -> Iterator[str]:
    length = cut["step_length"]
    yield f"step {cut['step']}"
    if length["alpha"] is None:
        yield length["kind"]
    else:
        spread = "" if length["deviation"] is None else f" ± {length['deviation']:.2f}"
        yield f"alpha {length['alpha']:.2f}{spread}: {length['kind']}"
