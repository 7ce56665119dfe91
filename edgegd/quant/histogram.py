"""What calibration keeps of a tensor: a histogram of constant size whose bins widen, so that one pass is enough."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

HALF_BINS = 4096
_SMALLEST_EXTREME = 1e-12  # below it the bins get no narrower
_BLOCK = 1 << 16  # values counted at a time on a CPU: they stay in its cache, which is twice as fast


class Histogram:
    """Counts of values in 2 x 4096 bins of one width 2^k around zero; `low` and `high` are the extremes seen.

    When a value falls outside, neighbouring bins are merged and the width doubles, so no value is ever lost, moved or
    counted twice, whatever the order of batches. `residuals` holds the sum of the values' distances from the lower
    edge of their bin, in widths: where most values of a bin are equal (zeros of a ReLU), its mean says so.
    """

    def __init__(self) -> None:
        self.counts: NDArray[np.float64] = np.zeros(2 * HALF_BINS)
        self.residuals: NDArray[np.float64] = np.zeros(2 * HALF_BINS)
        self.width = 0.0
        self.low, self.high = math.inf, -math.inf

    @property
    def total(self) -> float:
        """What all counts amount to."""
        return float(self.counts.sum())

    def times(self, factor: float) -> Histogram:
        """The same values, each counted `factor` times."""
        result = Histogram()
        result.counts, result.residuals = self.counts * factor, self.residuals * factor
        result.width, result.low, result.high = self.width, self.low, self.high
        return result

    def within(self, low: float, high: float) -> Histogram:
        """What was counted in the bins that [low, high] touches; both lie within the extremes seen."""
        result = self.times(1.0)
        result.low, result.high = low, high
        first, last = (HALF_BINS + math.floor(end / self.width) for end in (low, high))
        for bins in (result.counts, result.residuals):
            bins[:first] = bins[last + 1 :] = 0
        return result

    def add(self, values: torch.Tensor, weights: torch.Tensor | None = None) -> None:
        """Counts every element of a float tensor of any shape; ValueError where one is not finite.

        An element counts once, or as often as `weights`, of the same shape, says.
        """
        import torch  # add_array does without

        low, high = torch.aminmax(values.detach())
        self._include(float(low), float(high))
        flat = values.detach().flatten()
        size = _BLOCK if flat.device.type == "cpu" else len(flat)
        own = None if weights is None else weights.flatten().double().split(size)
        for number, block in enumerate(flat.split(size)):
            # The width is a power of two, so the division by it is exact; three times faster than torch.histc.
            residual = torch.mul(block.float(), 1 / self.width)
            edge = residual.floor()
            residual -= edge
            bins = edge.add_(HALF_BINS).to(torch.int32)
            weight = None if own is None else own[number].detach()
            part = residual if weight is None else residual.double() * weight
            self.counts += torch.bincount(bins, weight, minlength=2 * HALF_BINS).cpu().numpy()
            self.residuals += torch.bincount(bins, part, minlength=2 * HALF_BINS).cpu().numpy()

    def add_array(self, values: NDArray[Any]) -> None:
        """As `add`, of a float32 array."""
        self._include(float(values.min()), float(values.max()))
        flat = values.ravel()
        for start in range(0, flat.size, _BLOCK):
            scaled = flat[start : start + _BLOCK] * np.float32(1 / self.width)
            edge = np.floor(scaled)
            bins = (edge + HALF_BINS).astype(np.int32)
            self.counts += np.bincount(bins, minlength=2 * HALF_BINS)
            self.residuals += np.bincount(bins, scaled - edge, minlength=2 * HALF_BINS)

    def _include(self, low: float, high: float) -> None:
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"values from {low} to {high}")
        self.low, self.high = min(self.low, low), max(self.high, high)
        largest = max(abs(low), abs(high), _SMALLEST_EXTREME)
        self._widen(2.0 ** math.frexp(largest / HALF_BINS)[1])  # the power of two above

    def _widen(self, width: float) -> None:
        self.width = self.width or width
        while self.width < width:
            self.residuals[1::2] += self.counts[1::2]  # from the lower edge of the even bin
            for bins, unit in ((self.counts, 1), (self.residuals, 2)):
                merged = bins.reshape(-1, 2).sum(1) / unit  # (8192,) -> (4096,)
                bins.fill(0)
                bins[HALF_BINS // 2 : HALF_BINS // 2 + HALF_BINS] = merged
            self.width *= 2

    @staticmethod
    def merged(histograms: Iterable[Histogram]) -> Histogram:
        """The histogram of all values that these have counted."""
        total = Histogram()
        parts = [part for part in histograms if part.width]
        for part in parts:
            copy = Histogram()
            copy.counts, copy.residuals, copy.width = part.counts.copy(), part.residuals.copy(), part.width
            copy._widen(max(p.width for p in parts))
            total.counts += copy.counts
            total.residuals += copy.residuals
            total.width = copy.width
            total.low, total.high = min(total.low, part.low), max(total.high, part.high)
        return total

    def bins(self) -> tuple[np.ndarray, np.ndarray]:
        """Means of the values in widths, and counts, of the bins that are not empty; float64 (B,), by rising value."""
        filled = self.counts > 0
        edges = np.arange(-HALF_BINS, HALF_BINS)[filled]
        counts = self.counts[filled]
        return edges + self.residuals[filled] / counts, counts
