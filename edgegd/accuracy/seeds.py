"""Means over seeds, with Student's intervals: what another seed could have given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

_LEVEL = 0.95


@dataclass(frozen=True)
class Mean:
    """A mean of `count` values with its 95 % interval; `low` and `high` are None of a single value."""

    value: float
    low: float | None
    high: float | None
    count: int


def mean_of(values: Sequence[float]) -> Mean:
    """The mean of values that are independent and about normal, one per seed. Raises ValueError for none."""
    if not values:
        raise ValueError("no value to take the mean of")
    middle, count = mean(values), len(values)
    if count < 2:
        return Mean(middle, None, None, count)
    from scipy.stats import t

    half = float(t.ppf((1 + _LEVEL) / 2, count - 1)) * stdev(values) / math.sqrt(count)
    return Mean(middle, middle - half, middle + half, count)
