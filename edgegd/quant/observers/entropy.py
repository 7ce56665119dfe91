"""The observer `entropy`: the least Kullback-Leibler divergence of the codes' distribution from the values'.

Migacz 2017, GTC S7310; onnxruntime's calibrate.py, get_entropy_threshold; here for asymmetric ranges.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from edgegd.quant.code_errors import QMAX, CodeErrors, affine_range

_THRESHOLDS = 64  # candidates
_SMALLEST_THRESHOLD = 128  # in bins, as in get_entropy_threshold: narrower, each bin would have a code of its own


def choose(errors: CodeErrors, percentile: float) -> tuple[float, int]:
    """Scale and zero point."""
    return affine_range(*_least_divergence_ends(errors))


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
