"""Observers: how a range is chosen from the histogram of a scale group.

1. `minmax`: the extremes seen.
2. `percentile`: all but a share of the values, half of that share cut at each end (onnxruntime's calibrate.py,
   compute_percentile).
3. `mse`: the least squared error of the values' codes, both ends searched together; where a SiLU or a class score's
   sigmoid alone reads the values, the least error behind it (edgegd.quant.readers).
4. `entropy`: the least Kullback-Leibler divergence of the codes' distribution from the values' (Migacz 2017, GTC
   S7310; onnxruntime's calibrate.py, get_entropy_threshold), for asymmetric ranges.
5. `auto`: for each group, that of the four whose codes have the least error, measured as for `mse`.

Ranges are those of uint8 codes, whatever the profile: the export shifts codes and zero point where it needs int8.
"""

from __future__ import annotations

import dataclasses
import math
from functools import cache

import numpy as np

from edgegd.quant.code_errors import QMAX, QMIN, CodeErrors, affine_range
from edgegd.quant.histogram import Histogram
from edgegd.quant.quantizers import LARGEST_SCALE, SMALLEST_SCALE
from edgegd.quant.readers import VALUE, Reader

CANDIDATES = ("minmax", "percentile", "mse", "entropy")
OBSERVERS = ("auto", *CANDIDATES)
PERCENTILE = 99.99
_COARSE = 0.85 ** np.arange(16)  # first candidates of `mse` for each end, as fractions of the extreme, down to 9 %
# Then twice around the best: how far the zero point moves, and by what the scale is multiplied.
_FINE = ((2, 0.98 ** np.arange(-7.0, 8.0)), (1, 0.995 ** np.arange(-4.0, 5.0)))
_THRESHOLDS = 64  # candidates of `entropy`
_SMALLEST_THRESHOLD = 128  # in bins, as in get_entropy_threshold: narrower, each bin would have a code of its own


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
        for candidate in (CANDIDATES if observer == "auto" else (observer,))
    }
    winner = min(chosen, key=lambda candidate: errors.of_range(*chosen[candidate]))
    return *chosen[winner], winner


def _range_of(errors: CodeErrors, observer: str, percentile: float) -> tuple[float, int]:
    if observer == "mse":
        return _least_error_range(errors)
    if observer == "entropy":
        return affine_range(*_least_divergence_ends(errors))
    if observer == "percentile":
        return affine_range(*_percentile_ends(errors, percentile))
    return affine_range(errors.histogram.low, errors.histogram.high)


def _percentile_ends(errors: CodeErrors, percentile: float) -> tuple[float, float]:
    cumulated = np.cumsum(errors.counts)
    cut = (1 - percentile / 100) / 2 * cumulated[-1]
    left, right = np.searchsorted(cumulated, [cut, cumulated[-1] - cut])
    histogram = errors.histogram  # the outer edges of the bins in which the cuts fall, within the extremes
    low = max(math.floor(errors.means[left]) * histogram.width, histogram.low)
    high = min((math.floor(errors.means[right]) + 1) * histogram.width, histogram.high)
    return low, high


def _least_error_range(errors: CodeErrors) -> tuple[float, int]:
    """Coarse steps of one end after the other, then fine grids over zero point and scale around the best.

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


def _least_divergence_ends(errors: CodeErrors) -> tuple[float, float]:
    """Cuts both ends at +-threshold, where the extremes lie beyond it, for the threshold of least divergence.

    P is the distribution over bins with what lies outside added to the outermost ones inside; Q spreads the count of
    each code evenly over the bins that have it, without what lies outside. The bin of zero counts as its neighbour:
    zero has a code of its own, and the zeros of a ReLU would outweigh all else (NVIDIA's pytorch_quantization,
    calib/histogram.py, does so too).
    """
    histogram, counts = errors.histogram, errors.counts.copy()
    zero = int(np.searchsorted(errors.means, 0))
    if zero + 1 < len(counts) and errors.means[zero] < 1:
        counts[zero] = counts[zero + 1]
    errors = dataclasses.replace(errors, counts=counts)
    extent = max(abs(histogram.low), abs(histogram.high)) / histogram.width
    divergences: dict[tuple[float, float], float] = {}
    for threshold in np.linspace(extent, min(_SMALLEST_THRESHOLD, extent), _THRESHOLDS) * histogram.width:
        ends = max(histogram.low, -threshold), min(histogram.high, threshold)
        divergences.setdefault(ends, _divergence(errors, *ends))
    return min(divergences, key=divergences.__getitem__)


def _divergence(errors: CodeErrors, low: float, high: float) -> float:
    edges = np.float32(low / errors.histogram.width), np.float32(high / errors.histogram.width)
    first, last = np.searchsorted(errors.means, edges[0]), np.searchsorted(errors.means, edges[1], "right")
    counts = errors.counts[first:last]
    if len(counts) == 0:
        return math.inf
    clipped = counts.copy()
    clipped[0] += errors.counts[:first].sum()
    clipped[-1] += errors.counts[last:].sum()
    scale, zero_point = affine_range(low, high)
    codes = errors.codes(scale, zero_point)[first:last].astype(np.int64) + zero_point
    spread = np.bincount(codes, counts, QMAX + 1) / np.maximum(np.bincount(codes, minlength=QMAX + 1), 1)
    p, q = clipped / clipped.sum(), spread[codes] / counts.sum()
    return float(np.dot(p, np.log(p / q)))
