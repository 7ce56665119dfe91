"""Streaming calibration: one pass over the images, constant memory, one histogram a scale group.

A histogram has a fixed number of bins of width 2^k around zero; when a value falls outside, neighbouring bins are
merged and the width doubles, so no value is ever lost or counted twice and tied tensors are resolved jointly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from edgegd.errors import UnsupportedModelError
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.fake_quantize import SMALLEST_SCALE
from edgegd.quant.formats import Format
from edgegd.quant.tracing import INPUT

_HALF_BINS = 4096
_SEARCH_STEPS = 21  # candidates for each end of the range, from the whole of it down to half


class Histogram:
    """Counts of values in 2 x 4096 bins of one width around zero; `low` and `high` are the extremes seen."""

    def __init__(self) -> None:
        self.counts = torch.zeros(2 * _HALF_BINS, dtype=torch.float64)
        self.width = 0.0
        self.low, self.high = math.inf, -math.inf

    def add(self, values: torch.Tensor) -> None:
        """Counts every element of a float tensor; UnsupportedModelError where one is not finite."""
        low, high = (float(v) for v in torch.aminmax(values))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise UnsupportedModelError(
                "Calibration met an activation that is not finite.", expected="finite float32 values",
                found=f"values from {low} to {high}",
                mend="the float checkpoint has broken weights: check that it detects anything, or train it again",
            )  # fmt: skip
        self.low, self.high = min(self.low, low), max(self.high, high)
        largest = max(abs(low), abs(high), SMALLEST_SCALE)
        needed = 2.0 ** math.frexp(largest / _HALF_BINS)[1]  # the power of two above
        if self.width == 0.0:
            self.width = needed
        while self.width < needed:
            self._double()
        # The width is a power of two, so the division by it is exact; three times faster than torch.histc.
        bins = torch.mul(values.flatten().float(), 1 / self.width).floor_().add_(_HALF_BINS)
        bins = bins.clamp_(0, 2 * _HALF_BINS - 1).to(torch.int32)
        self.counts += torch.bincount(bins, minlength=2 * _HALF_BINS).cpu()

    def _double(self) -> None:
        merged = self.counts.view(-1, 2).sum(1)  # (8192,) -> (4096,)
        self.counts = torch.zeros_like(self.counts)
        self.counts[_HALF_BINS // 2 : _HALF_BINS // 2 + _HALF_BINS] = merged
        self.width *= 2

    def bins(self) -> tuple[np.ndarray, np.ndarray]:
        """Centres (float64) and counts of the bins that are not empty."""
        centres = (np.arange(2 * _HALF_BINS) - _HALF_BINS + 0.5) * self.width
        counts = self.counts.numpy()
        return centres[counts > 0], counts[counts > 0]


@dataclass(frozen=True)
class Range:
    """A scale (float32 value) and zero point, and the signal-to-quantization-noise ratio in dB on what was seen."""

    scale: float
    zero_point: int
    sqnr_db: float


def affine_range(low: float, high: float, fmt: Format) -> tuple[float, int]:
    """Scale and zero point that cover [low, high] and hold zero exactly (Jacob et al. 2018, section 2.1)."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(float(np.float32((high - low) / (fmt.qmax - fmt.qmin))), SMALLEST_SCALE)
    zero_point = round(fmt.qmin - low / scale)
    return scale, min(max(zero_point, fmt.qmin), fmt.qmax)


def quantization_error(centres: np.ndarray, counts: np.ndarray, scale: float, zero_point: int, fmt: Format) -> float:
    """Sum of squared differences between the values of a histogram and their codes."""
    codes = np.clip(np.rint(centres / scale), fmt.qmin - zero_point, fmt.qmax - zero_point)
    return float(np.dot(counts, np.square(codes * scale - centres)))


def choose_range(histogram: Histogram, fmt: Format, observer: str) -> Range:
    """The range of a histogram: its extremes (`minmax`), or the one of least squared error within them (`mse`)."""
    centres, counts = histogram.bins()
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)

    def error_of(low_factor: float, high_factor: float) -> float:
        return quantization_error(centres, counts, *affine_range(low * low_factor, high * high_factor, fmt), fmt)

    low_factor = high_factor = 1.0
    if observer == "mse":  # one end after the other, the wider one first: their errors hardly depend on each other
        factors = np.linspace(1.0, 0.5, _SEARCH_STEPS)
        if high >= -low:
            high_factor = min(factors, key=lambda factor: error_of(1.0, factor))
            low_factor = min(factors, key=lambda factor: error_of(factor, high_factor))
        else:
            low_factor = min(factors, key=lambda factor: error_of(factor, 1.0))
            high_factor = min(factors, key=lambda factor: error_of(low_factor, factor))
    scale, zero_point = affine_range(low * low_factor, high * high_factor, fmt)
    error, signal = error_of(low_factor, high_factor), float(np.dot(counts, np.square(centres)))
    sqnr_db = 10 * math.log10(signal / error) if error > 0 and signal > 0 else math.inf
    return Range(scale, zero_point, sqnr_db)


@torch.no_grad()
def calibrate(quantized: QuantizedModel, batches: Iterable[torch.Tensor], observer: str,
              progress: Callable[[int], None] | None = None) -> dict[str, Range]:
    """Runs float images (N, 3, H, W) through the model once and sets every range; returns the ranges by scale group.

    The image's own range is not measured: its codes are the pixels' (scale 1/255, zero point 0).
    Raises UnsupportedModelError where an activation is not finite.
    """
    histograms = {group: Histogram() for group in quantized.plan.groups.values()}
    was_training = quantized.training
    quantized.eval()
    quantized.observe = lambda group, x: histograms[group].add(x) if group != INPUT else None
    seen = 0
    try:
        for batch in batches:
            quantized(batch)
            seen += len(batch)
            if progress:
                progress(seen)
    finally:
        quantized.observe = None
        quantized.train(was_training)
    if not seen:
        raise ValueError("calibration needs at least one image")
    fmt = quantized.plan.activation_format
    measured = {group: histogram for group, histogram in histograms.items() if group != INPUT}
    ranges = {group: choose_range(histogram, fmt, observer) for group, histogram in measured.items()}
    if INPUT in histograms:
        ranges[INPUT] = Range(float(np.float32(1 / 255)), 0, math.inf)
    for group, chosen in ranges.items():
        quantized.range_of(group).set_range(chosen.scale, chosen.zero_point)
    quantized.follow_weights()
    return ranges
