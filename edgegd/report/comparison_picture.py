"""Optimizers side by side as a picture: held-out loss against images and against seconds. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from edgegd.report.comparison import name_of
from edgegd.report.svg_file import svg_bytes

_SIZE = (7.5, 6.4)  # inches
_HIGHEST = 2.0
"""A diagram shows so many times the deepest fall above its zero: what diverges leaves it at the top."""


def comparison_svg(found: Mapping[str, Any]) -> bytes:
    """The picture of descent-compare.json: the mean over the seeds of each contender's change, and their spread."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    above, below = figure.subplots(2, 1)
    colours = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
    lowest = -1e-9
    for number, contender in enumerate(found["contenders"]):
        length = min(len(trace["losses"]) for trace in contender["traces"])
        changes = np.array([np.array(t["losses"][:length], float) - t["losses"][0] for t in contender["traces"]])
        middle, low, high = (np.nan_to_num(reduce(changes, axis=0), nan=1e9) for reduce in (np.mean, np.min, np.max))
        lowest = min(lowest, float(low.min()))
        look: dict[str, Any] = {"color": colours[number % len(colours)]}
        for axis, key in ((above, "images"), (below, "seconds")):
            x = np.mean([trace[key][:length] for trace in contender["traces"]], axis=0)
            axis.plot(x, middle, marker=".", linewidth=1.2, label=name_of(contender), **look)
            axis.fill_between(x, low, high, alpha=0.12, linewidth=0, **look)
    for axis, label in ((above, "images"), (below, "seconds of training")):
        axis.axhline(0, color="black", linewidth=0.6)
        axis.set(xlabel=label, ylabel="change of the held-out loss")
        axis.set_ylim(1.15 * lowest, _HIGHEST * -lowest)
    above.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return svg_bytes(figure)
