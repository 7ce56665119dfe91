"""Images that extend ranges alone: without their outermost values a scale group would have a narrower range."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from edgegd.plan.quant_plan import QuantPlan
from edgegd.quant.extremes import ImageExtremes, of_others, outermost
from edgegd.quant.histogram import Histogram
from edgegd.quant.observers import choose_range
from edgegd.quant.ranges import Range
from edgegd.quant.readers import readers_of_groups

NOTABLE = 0.1
"""The share of a scale that an image must add alone: codes a tenth coarser are 0.8 dB more noise."""
_NOT_CHOSEN = ("pixels", "known", "constant")


@dataclass(frozen=True)
class LoneImage:
    """An image, by its number, and the scale groups that it extends: group -> scale with and without it."""

    image: int
    groups: dict[str, tuple[float, float]]

    @property
    def narrowest(self) -> float:
        """The least scale without the image over the one with it."""
        return min(without / present for present, without in self.groups.values())


def lone_images(
    plan: QuantPlan,
    histograms: Mapping[str, Histogram],
    ranges: Mapping[str, Range],
    extremes: ImageExtremes,
    observer: str,
    percentile: float,
) -> list[LoneImage]:
    """The images without which a range of `ranges` would be narrower by NOTABLE, the strongest first.

    `histograms` are those from which the ranges were chosen. Without an image means: without the values that lie beyond
    those of all other images, which is known without counting anything again; its other values stay. So nothing has to
    run a second time, and an image counts only where no other one reaches as far.
    """
    members: dict[str, list[str]] = {}
    for address, group in plan.groups.items():
        if address in histograms and address in extremes.lows:
            members.setdefault(group, []).append(address)
    readers, found = readers_of_groups(plan), defaultdict[int, dict[str, tuple[float, float]]](dict)
    for group, addresses in members.items():
        if ranges[group].observer in _NOT_CHOSEN:
            continue
        lows = outermost([one for address in addresses for one in extremes.lows[address]], falling=False)
        highs = outermost([one for address in addresses for one in extremes.highs[address]], falling=True)
        for image in {lows[0][1], highs[0][1]}:
            low, high = of_others(lows, image), of_others(highs, image)
            whole = max(highs[0][0], 0.0) - min(lows[0][0], 0.0)
            if math.isnan(low) or max(high, 0.0) - min(low, 0.0) > (1 - NOTABLE) * whole:
                continue
            others = Histogram.merged(histograms[address] for address in addresses).within(low, high)
            scale, _, _ = choose_range(others, observer, percentile, readers[group])
            if scale <= (1 - NOTABLE) * ranges[group].scale:
                found[image][group] = (ranges[group].scale, scale)
    lone = [LoneImage(image, groups) for image, groups in found.items()]
    return sorted(lone, key=lambda one: (one.narrowest, one.image))
