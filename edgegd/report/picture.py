"""A picture as data: what is drawn, what report-data.json holds, and what the page shows under the pointer.

No matplotlib here: `edgegd.report.draw` makes SVG of it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgegd.foreign_text import one_line

Number = float | int | None
_DIGITS = 6


@dataclass(frozen=True)
class Series:
    """Values `y` at `x`, with the bounds `low` and `high` of each where there are any.

    `kind` is `line`, `points` (joined by a line), `dots`, `bars` (of the width of their distance) or `band` (between
    `low` and `high`). In a panel with categories `y` are the values and `x` the numbers of the categories, from 0.
    """

    name: str
    x: Sequence[Number]
    y: Sequence[Number]
    kind: str = "line"
    low: Sequence[Number] | None = None
    high: Sequence[Number] | None = None


@dataclass(frozen=True)
class Heat:
    """A value for each of `rows` and each x, as lists of rows: drawn as colours, from the least to the largest."""

    rows: Sequence[str]
    x: Sequence[Number]
    values: Sequence[Sequence[Number]]


@dataclass(frozen=True)
class Panel:
    """One diagram. `marks` are constant values with a name, drawn across; of x where `marks_x` says so.

    With `categories` they stand below each other, and values run along x. `x_limits` and `y_limits` are what is shown;
    without them they follow from the values.
    """

    x_label: str
    y_label: str = ""
    series: Sequence[Series] = ()
    title: str = ""
    logarithmic: bool = False
    categories: Sequence[str] = ()
    marks: Sequence[tuple[str, float]] = ()
    marks_x: bool = False
    heat: Heat | None = None
    x_limits: tuple[float, float] | None = None
    y_limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Picture:
    """Panels below each other under one title; `sentence` says what is seen and how it was reduced."""

    name: str
    title: str
    sentence: str
    panels: Sequence[Panel]

    def to_json(self) -> dict[str, Any]:
        """Everything that is drawn, without what is empty; texts as they are shown."""
        return _plain(dataclasses.asdict(self))  # type: ignore[no-any-return]


def rounded(values: Sequence[Number]) -> list[Number]:
    """Numbers with six significant digits, None for what is not finite: those that are drawn are those in the JSON."""
    return [None if value is None or not math.isfinite(value) else float(f"{value:.{_DIGITS}g}") for value in values]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _plain(inner) for key, inner in value.items() if inner not in (None, "", [], ()) and inner is not False
        }
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return one_line(value) if isinstance(value, str) else value
