"""Affine ranges of uint8 codes, and the squared error that the codes of a histogram's values have under one.

Ranges are those of uint8 codes, whatever the profile: the export shifts codes and zero point where it needs int8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgegd.quant.formats import UINT8_ACTIVATION
from edgegd.quant.histogram import Histogram
from edgegd.quant.quantizers import LARGEST_SCALE, SMALLEST_SCALE

QMIN, QMAX = UINT8_ACTIVATION.qmin, UINT8_ACTIVATION.qmax
NOISELESS_DB = 999.0  # stands for an infinite ratio, which JSON cannot hold


def affine_range(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point of uint8 codes that cover [low, high] and hold zero exactly (Jacob et al. 2018, 2.1).

    Ends that are not below (above) zero give zero point 0 (255). The scale is a normal float32 number.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = min(max(float(np.float32((high - low) / (QMAX - QMIN))), SMALLEST_SCALE), LARGEST_SCALE)
    return scale, min(max(round(QMIN - low / scale), QMIN), QMAX)


@dataclass(frozen=True)
class CodeErrors:
    """Squared errors of the codes of one histogram's values, computed in units of its bins' width.

    The values of a bin count as their mean; a bin is at most an eighth of a code wide where nothing saturates. A code
    is that of onnxruntime's QuantizeLinear: a float32 division, rounded half to even, saturated. Dividing values
    and scale by a power of two changes none of them, and keeps squares of any float32 finite.
    """

    histogram: Histogram
    means: np.ndarray  # float32 (B,), in bins
    counts: np.ndarray  # float64 (B,)
    signal: float  # sum of squares of the values, in bins

    @staticmethod
    def of(histogram: Histogram) -> CodeErrors:
        """Prepares the errors of a histogram that has counted at least one value."""
        means, counts = histogram.bins()
        return CodeErrors(histogram, means.astype(np.float32), counts, float(np.dot(counts, np.square(means))))

    def codes(self, scale: float, zero_point: int) -> np.ndarray:
        """Codes of the bins' means less the zero point, float32 (B,)."""
        return np.clip(np.rint(self.means / self._in_bins(scale)), QMIN - zero_point, QMAX - zero_point)

    def of_range(self, scale: float, zero_point: int) -> float:
        """The sum of squared errors under a range, in squared bins."""
        difference = self.codes(scale, zero_point) * self._in_bins(scale) - self.means
        return float(np.dot(self.counts, np.square(difference, dtype=np.float64)))

    def _in_bins(self, scale: float) -> np.float32:
        return np.float32(scale / self.histogram.width)


def sqnr_db(histogram: Histogram, scale: float, zero_point: int) -> float:
    """Signal-to-quantization-noise ratio in dB of what a histogram counted, under a range.

    NOISELESS_DB where the error is within float64's rounding, or nothing was counted.
    """
    if not histogram.width:
        return NOISELESS_DB
    errors = CodeErrors.of(histogram)
    error = errors.of_range(scale, zero_point)
    return 10 * math.log10(errors.signal / error) if error > errors.signal * 1e-14 else NOISELESS_DB
