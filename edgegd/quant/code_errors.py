"""Affine ranges of uint8 codes, and the error that the codes of a histogram's values have under one.

Ranges are those of uint8 codes, whatever the profile: the export shifts codes and zero point where it needs int8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgegd.plan.formats import LARGEST_SCALE, SMALLEST_SCALE, UINT8_ACTIVATION
from edgegd.quant.histogram import Histogram
from edgegd.quant.readers import VALUE, Reader
from edgegd.signal_to_noise import NOISELESS_DB, decibel

QMIN, QMAX = UINT8_ACTIVATION.qmin, UINT8_ACTIVATION.qmax
_ROUNDING = 1e-14  # of float64, relative to the signal


def affine_range(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point of uint8 codes that cover [low, high] and hold zero exactly (Jacob et al. 2018, 2.1).

    Ends that are not below (above) zero give zero point 0 (255). The scale is a normal float32 number.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = min(max(float(np.float32((high - low) / (QMAX - QMIN))), SMALLEST_SCALE), LARGEST_SCALE)
    return scale, min(max(round(QMIN - low / scale), QMIN), QMAX)


@dataclass(frozen=True)
class CodeErrors:
    """Errors of the codes of one histogram's values, as `reader` sees them (edgegd.quant.readers).

    The values of a bin count as their mean; a bin is at most an eighth of a code wide where nothing saturates. A code
    is that of onnxruntime's QuantizeLinear: a float32 division, rounded half to even, saturated. Dividing values
    and scale by a power of two changes none of them: codes are made in units of the bins' width.
    """

    histogram: Histogram
    means: np.ndarray  # float32 (B,), in bins
    counts: np.ndarray  # float64 (B,)
    reader: Reader = VALUE

    @staticmethod
    def of(histogram: Histogram, reader: Reader = VALUE) -> CodeErrors:
        """Prepares the errors of a histogram that has counted at least one value."""
        means, counts = histogram.bins()
        return CodeErrors(histogram, means.astype(np.float32), counts, reader)

    def codes(self, scale: float, zero_point: int) -> np.ndarray:
        """Codes of the bins' means less the zero point, float32 (B,)."""
        return np.clip(np.rint(self.means / self._in_bins(scale)), QMIN - zero_point, QMAX - zero_point)

    def of_range(self, scale: float, zero_point: int) -> float:
        """The sum of the values' errors under a range."""
        return float(np.dot(self.counts, self.reader.error(self._quantized(scale, zero_point), self._values())))

    def sqnr_db(self, scale: float, zero_point: int) -> float:
        """Signal-to-quantization-noise ratio in dB of what the reader sees, under a range.

        NOISELESS_DB where the error is within float64's rounding.
        """
        signal = self.reader.sees(self._values())
        noise = self.reader.sees(self._quantized(scale, zero_point)) - signal
        of_signal, of_noise = (float(np.dot(self.counts, np.square(x))) for x in (signal, noise))
        return decibel(of_signal, of_noise, least=_ROUNDING)

    def _values(self) -> np.ndarray:
        return self.means.astype(np.float64) * self.histogram.width

    def _quantized(self, scale: float, zero_point: int) -> np.ndarray:
        return (self.codes(scale, zero_point) * self._in_bins(scale)).astype(np.float64) * self.histogram.width

    def _in_bins(self, scale: float) -> np.float32:
        return np.float32(scale / self.histogram.width)


def sqnr_db(histogram: Histogram, scale: float, zero_point: int, reader: Reader = VALUE) -> float:
    """As CodeErrors.sqnr_db, of what a histogram counted; NOISELESS_DB where that is nothing."""
    return CodeErrors.of(histogram, reader).sqnr_db(scale, zero_point) if histogram.width else NOISELESS_DB
