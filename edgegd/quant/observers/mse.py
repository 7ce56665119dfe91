"""The observer `mse`: the least squared error of the values' codes, both ends searched together.

Where a SiLU or a class score's sigmoid alone reads the values, the least error behind it (edgegd.quant.readers).
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from edgegd.plan.formats import LARGEST_SCALE, SMALLEST_SCALE
from edgegd.quant.code_errors import QMAX, QMIN, CodeErrors, affine_range

_COARSE = 0.85 ** np.arange(16)  # first candidates for each end, as fractions of the extreme, down to 9 %
# Then twice around the best: how far the zero point moves, and by what the scale is multiplied.
_FINE = ((2, 0.98 ** np.arange(-7.0, 8.0)), (1, 0.995 ** np.arange(-4.0, 5.0)))


def choose(errors: CodeErrors, percentile: float) -> tuple[float, int]:
    """Scale and zero point.

    Coarse steps of one end after the other, then fine grids over zero point and scale around the best.

    The two ends share one scale, and where one of them is but a few codes from zero (SiLU), which whole number of codes
    decides. Only values of both signs let the zero point move off its end.
    """
    low, high = min(errors.histogram.low, 0.0), max(errors.histogram.high, 0.0)

    @cache
    def error_of(scale: float, zero_point: int) -> float:
        cut = high > (QMAX - zero_point + 0.5) * scale * (1 + 1e-6)
        return math.inf if cut and errors.reader.keeps_largest else errors.of_range(scale, zero_point)

    def along(*ends: tuple[float, float]) -> tuple[float, float]:
        return min(ends, key=lambda pair: error_of(*affine_range(*pair)))  # the first of equals: so the loop ends

    ends, before = (low, high), (0.0, 0.0)
    while ends != before:  # one end after the other, until neither moves
        before = ends
        ends = along(ends, *((low * factor, ends[1]) for factor in _COARSE))
        ends = along(ends, *((ends[0], high * factor) for factor in _COARSE))
    scale, zero_point = affine_range(*ends)
    for reach, factors in _FINE:
        shifts = range(-reach, reach + 1) if low < 0 < high else (0,)
        zero_points = {min(max(zero_point + shift, QMIN), QMAX) for shift in shifts}
        scales = np.clip(scale * factors, SMALLEST_SCALE, LARGEST_SCALE).astype(np.float32)
        candidates = [(float(s), z) for s in scales for z in sorted(zero_points)]
        scale, zero_point = min(candidates, key=lambda candidate: error_of(*candidate))
    return scale, zero_point
