"""Streaming calibration: one pass over the images, constant memory, a histogram a tensor, a range a scale group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch

from edgegd.quant.attach import QuantizedModel
from edgegd.quant.extremes import ImageExtremes
from edgegd.quant.histogram import Histogram
from edgegd.quant.observers import PERCENTILE
from edgegd.quant.ranges import Range, choose_ranges, counted_addresses, no_image, not_finite


@torch.no_grad()
def collect(
    quantized: QuantizedModel,
    batches: Iterable[torch.Tensor],
    progress: Callable[[int], None] | None = None,
    *,
    extremes: ImageExtremes | None = None,
) -> dict[str, Histogram]:
    """Runs float images (N, C, H, W) through the float model once; the histogram of every planned tensor by address.

    The image itself is not counted (its codes are the pixels), nor what only hands on codes of others (movements,
    concat). `progress(images)` is called after each batch; `extremes` sees what is counted, image by image.
    CalibrationError where an activation is not finite, which names the first such tensor, or where there is no image.
    """
    plan = quantized.plan
    histograms = {address: Histogram() for address in counted_addresses(plan)}

    def observe(address: str, x: torch.Tensor) -> None:
        try:
            if address in histograms:
                histograms[address].add(x)
                if extremes:
                    extremes.add(address, x)
        except ValueError as error:
            raise not_finite(address, error) from error

    was_training, seen = quantized.training, 0
    quantized.eval()
    quantized.observe = observe
    try:
        for batch in batches:
            quantized(batch)
            if extremes:
                extremes.images += len(batch)
            seen += len(batch)
            if progress:
                progress(seen)
    finally:
        quantized.observe = None
        quantized.train(was_training)
    if not seen:
        raise no_image()
    return histograms


def calibrate(
    quantized: QuantizedModel,
    batches: Iterable[torch.Tensor],
    observer: str,
    progress: Callable[[int], None] | None = None,
    *,
    percentile: float = PERCENTILE,
) -> dict[str, Range]:
    """Sets every range of the model from float images (N, C, H, W); returns the ranges by scale group.

    See `collect` for errors and `choose_ranges` for what is chosen; weight scales are tied to the weights.
    """
    ranges = choose_ranges(quantized.plan, collect(quantized, batches, progress), observer, percentile)
    set_ranges(quantized, ranges)
    return ranges


def set_ranges(quantized: QuantizedModel, ranges: Mapping[str, Range]) -> None:
    """Gives the model the ranges of `choose_ranges`, and each weight the scale that its largest value needs."""
    for group, chosen in ranges.items():
        quantized.range_of(group).set_range(chosen.scale, chosen.zero_point)
    quantized.follow_weights(tie=True)
