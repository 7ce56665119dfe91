"""What calibration keeps of a tensor: a histogram of constant size whose bins widen, so that one pass is enough."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
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
        self.counts = torch.zeros(2 * HALF_BINS, dtype=torch.float64)
        self.residuals = torch.zeros(2 * HALF_BINS, dtype=torch.float64)
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

    @torch.no_grad()
    def add(self, values: torch.Tensor, weights: torch.Tensor | None = None) -> None:
        """Counts every element of a float tensor of any shape; ValueError where one is not finite.

        An element counts once, or as often as `weights`, of the same shape, says.
        """
        low, high = (float(v) for v in torch.aminmax(values))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"values from {low} to {high}")
        self.low, self.high = min(self.low, low), max(self.high, high)
        largest = max(abs(low), abs(high), _SMALLEST_EXTREME)
        self._widen(2.0 ** math.frexp(largest / HALF_BINS)[1])  # the power of two above
        flat = values.detach().flatten()
        size = _BLOCK if flat.device.type == "cpu" else len(flat)
        own = None if weights is None else weights.flatten().double().split(size)
        for number, block in enumerate(flat.split(size)):
            # The width is a power of two, so the division by it is exact; three times faster than torch.histc.
            residual = torch.mul(block.float(), 1 / self.width)
            edge = residual.floor()
            residual -= edge
            bins = edge.add_(HALF_BINS).to(torch.int32)
            weight = None if own is None else own[number]
            part = residual if weight is None else residual.double() * weight
            self.counts += torch.bincount(bins, weight, minlength=2 * HALF_BINS).cpu()
            self.residuals += torch.bincount(bins, part, minlength=2 * HALF_BINS).cpu()

    def _widen(self, width: float) -> None:
        self.width = self.width or width
        while self.width < width:
            self.residuals[1::2] += self.counts[1::2]  # from the lower edge of the even bin
            for bins, unit in ((self.counts, 1), (self.residuals, 2)):
                merged = bins.view(-1, 2).sum(1) / unit  # (8192,) -> (4096,)
                bins.zero_()
                bins[HALF_BINS // 2 : HALF_BINS // 2 + HALF_BINS] = merged
            self.width *= 2

    @staticmethod
    def merged(histograms: Iterable[Histogram]) -> Histogram:
        """The histogram of all values that these have counted."""
        total = Histogram()
        parts = [part for part in histograms if part.width]
        for part in parts:
            copy = Histogram()
            copy.counts, copy.residuals, copy.width = part.counts.clone(), part.residuals.clone(), part.width
            copy._widen(max(p.width for p in parts))
            total.counts += copy.counts
            total.residuals += copy.residuals
            total.width = copy.width
            total.low, total.high = min(total.low, part.low), max(total.high, part.high)
        return total

    def bins(self) -> tuple[np.ndarray, np.ndarray]:
        """Means of the values in widths, and counts, of the bins that are not empty; float64 (B,), by rising value."""
        counts = self.counts.numpy()
        filled = counts > 0
        edges = np.arange(-HALF_BINS, HALF_BINS)[filled]
        return edges + self.residuals.numpy()[filled] / counts[filled], counts[filled]
