"""Observers: how a range is chosen from the histogram of a scale group; one a module, by its name.

`auto` takes, for each group, that of the others whose codes have the least error, measured as for `mse`. The names are
in one list, edgegd.recipe.schema.OBSERVERS, so that recipes know them without importing what they run on; each module
has a function `choose(errors, percentile)` that returns scale and zero point.

Ranges are those of uint8 codes, whatever the profile: the export shifts codes and zero point where it needs int8.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

import numpy as np

from edgegd.plan.formats import LARGEST_SCALE, SMALLEST_SCALE
from edgegd.quant.code_errors import QMAX, CodeErrors
from edgegd.quant.histogram import Histogram
from edgegd.quant.readers import VALUE, Reader
from edgegd.recipe.schema import AUTO_OBSERVER, OBSERVERS

PERCENTILE = 99.99


def choose_range(
    histogram: Histogram, observer: str, percentile: float = PERCENTILE, reader: Reader = VALUE
) -> tuple[float, int, str]:
    """Scale, zero point, and the observer that they are from (`constant` where no observer had a choice).

    `reader` says what is made of the values: `mse` and `auto` go by the error behind it.

    A constant tensor has a range in which its value has an exact code: a power of two divides it. One that was zero
    throughout says nothing of its range and takes that of the image, 0..1.
    """
    low, high = histogram.low, histogram.high
    if low == high:
        scale = min(max(abs(low) / 128, SMALLEST_SCALE), LARGEST_SCALE) if low else float(np.float32(1 / QMAX))
        return scale, 128 if low < 0 else 0, "constant"
    errors = CodeErrors.of(histogram, reader)
    chosen = {
        candidate: _range_of(errors, candidate, percentile)
        for candidate in (OBSERVERS if observer == AUTO_OBSERVER else (observer,))
    }
    winner = min(chosen, key=lambda candidate: errors.of_range(*chosen[candidate]))
    return *chosen[winner], winner


def _range_of(errors: CodeErrors, observer: str, percentile: float) -> tuple[float, int]:
    module = import_module(f"edgegd.quant.observers.{observer}")
    return cast("tuple[float, int]", module.choose(errors, percentile))
