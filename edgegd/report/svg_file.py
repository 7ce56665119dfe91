"""A figure of matplotlib as SVG: text as text, no date, and equal bytes for equal figures (of one matplotlib)."""

from __future__ import annotations

import io
from typing import Any

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, NullFormatter

from edgegd.foreign_text import printable

_SETTINGS: Any = {"svg.fonttype": "none", "svg.hashsalt": "edgegd"}


def svg_bytes(figure: Figure) -> bytes:
    """The figure, drawn without a display; names in it are others' text: no formulas, no control characters.

    matplotlib labels logarithmic axes with formulas, so they get plain numbers.
    """
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log":
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axis.set_minor_formatter(NullFormatter())
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)
        text.set_text(printable(text.get_text()))
    written = io.BytesIO()
    with matplotlib.rc_context(_SETTINGS):
        FigureCanvasSVG(figure).print_svg(written, metadata={"Date": None, "Creator": "edgegd"})
    return written.getvalue()
