"""The curves of a learning rate range test as a picture: a diagram per parameter group. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edgegd.report.svg_file import svg_bytes

_WIDTH, _ROW = 7.5, 2.6  # inches
_ABOVE = 3.0
"""A diagram shows so many times the deepest fall above its zero: what diverges leaves it at the top."""


def lr_range_svg(found: Mapping[str, Any]) -> bytes:
    """The picture of descent-lr-range.json: every seed thin, the smoothed curve with two standard errors, the rates."""
    groups = list(found["smoothed"])
    figure = Figure(figsize=(_WIDTH, _ROW * len(groups)), layout="constrained")
    for axis, group in zip(figure.subplots(len(groups), 1, squeeze=False)[:, 0], groups, strict=True):
        _draw(axis, found, group)
    return svg_bytes(figure)


def _draw(axis: Axes, found: Mapping[str, Any], group: str) -> None:
    curve, suggestion = found["smoothed"][group], found["suggestions"][group]
    rates, changes, errors = (np.array(curve[key]) for key in ("rates", "changes", "errors"))
    for one in found["curves"]:
        if one["group"] == group:
            axis.plot(one["rates"], one["changes"], color="silver", linewidth=0.8)
    axis.fill_between(rates, changes - 2 * errors, changes + 2 * errors, color="tab:blue", alpha=0.2, linewidth=0)
    axis.plot(rates, changes, color="tab:blue", linewidth=1.5, label="all seeds, smoothed, +- 2 standard errors")
    axis.axhline(0, color="black", linewidth=0.6)
    recipe = found["recipe"][group]
    for rate, label, style in ((recipe, "the recipe's", ":"), (suggestion["rate"], "suggested", "-")):
        if rate:
            axis.axvline(rate, color="tab:red", linestyle=style, linewidth=1.1, label=f"{label} {rate:.2g}")
    lowest = min(float((changes - 2 * errors).min()), -1e-9)
    axis.set(xscale="log", xlabel=f"learning rate of the {group.replace('_', ' ')}", ylabel="change of the loss")
    axis.set_ylim(1.1 * lowest, _ABOVE * -lowest)
    axis.legend(fontsize=7, frameon=False, loc="upper left")
