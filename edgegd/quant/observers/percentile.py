"""The observer `percentile`: all but a share of the values, half of that share cut at each end.

As onnxruntime's calibrate.py, compute_percentile.
"""

from __future__ import annotations

import math

import numpy as np

from edgegd.quant.code_errors import CodeErrors, affine_range


def choose(errors: CodeErrors, percentile: float) -> tuple[float, int]:
    """Scale and zero point; `percentile` is the share of the values in the range, in percent."""
    return affine_range(*_ends(errors, percentile))


def _ends(errors: CodeErrors, percentile: float) -> tuple[float, float]:
    cumulated = np.cumsum(errors.counts)
    cut = (1 - percentile / 100) / 2 * cumulated[-1]
    left, right = np.searchsorted(cumulated, [cut, cumulated[-1] - cut])
    histogram = errors.histogram  # the outer edges of the bins in which the cuts fall, within the extremes
    low = max(math.floor(errors.means[left]) * histogram.width, histogram.low)
    high = min((math.floor(errors.means[right]) + 1) * histogram.width, histogram.high)
    return low, high
