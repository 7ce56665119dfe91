"""`quant.calibration_images: auto`: the calibration set grows until the ranges of its halves agree.

After every doubling the ranges of its first and of its second half, which share no image, are compared
(edgegd.quant.stability). Histograms merge, so every image is counted once, and the pass goes on where it stood.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgegd.plan.quant_plan import QuantPlan
from edgegd.quant.histogram import Histogram
from edgegd.quant.ranges import choose_ranges
from edgegd.quant.stability import MEDIAN_LIMIT, MOST_LIMIT, Spread, spread_of

FEWEST, MOST = 16, 512
"""Between how many images the number is chosen."""
Histograms = Mapping[str, Histogram]


@dataclass(frozen=True)
class GrownSet:
    """What was counted on the first `images`, and the spreads between the halves of each size, in order."""

    images: int
    histograms: dict[str, Histogram]
    course: tuple[tuple[int, Spread], ...]

    @property
    def is_stable(self) -> bool:
        """Whether it stopped because the ranges had come to rest, and not at its bound."""
        return bool(self.course) and self.course[-1][1].is_stable

    def reason(self) -> str:
        """One sentence: why there are so many images."""
        if not self.course:
            return f"all {self.images} images: too few for two halves that could be compared"
        _, last = self.course[-1]
        halves = (
            f"the scales of the two halves of {self.course[-1][0]} images differ by {100 * last.median:.1f} % (median) "
            f"and by {100 * last.most:.1f} % in nine tenths of the scale groups"
        )
        limits = f"{100 * MEDIAN_LIMIT:g} % and {100 * MOST_LIMIT:g} %"
        if self.is_stable:
            return f"{self.images} images: {halves}, within {limits}"
        return f"{self.images} images, as many as there may be: {halves}, still not within {limits}"

    def to_dict(self) -> dict[str, Any]:
        """As calibration.json holds it."""
        return {
            "images": self.images,
            "stable": self.is_stable,
            "reason": self.reason(),
            "course": [
                {"images": images, "median": spread.median, "most": spread.most, "worst": list(map(list, spread.worst))}
                for images, spread in self.course
            ],
        }


def grow(
    count: Callable[[int, int], Histograms],
    available: int,
    plan: QuantPlan,
    observer: str,
    percentile: float,
    *,
    fewest: int = FEWEST,
) -> GrownSet:
    """Grows a set from `fewest` images (at least FEWEST) to MOST, or to all that are `available`.

    `count(start, end)` returns the histograms of these images of the seeded order by address, and is called once for
    each image. Where no doubling within the bound is stable, all images within it are taken. Two sets of histograms are
    in memory at once.
    """
    bound, number = min(MOST, available), max(FEWEST, fewest)
    if number > bound:
        number = bound
    course: list[tuple[int, Spread]] = []
    whole, counted = dict(count(0, max(1, number // 2))), max(1, number // 2)
    while counted * 2 <= bound and counted * 2 >= FEWEST:
        second = count(counted, 2 * counted)
        halves = [choose_ranges(plan, half, observer, percentile) for half in (whole, second)]
        whole, counted = merged(whole, second), 2 * counted
        course.append((counted, spread_of(halves)))
        if course[-1][1].is_stable:
            return GrownSet(counted, whole, tuple(course))
    if counted < bound:
        whole = merged(whole, count(counted, bound))
    return GrownSet(bound, whole, tuple(course))


def merged(first: Histograms, second: Histograms) -> dict[str, Histogram]:
    """The histograms of all values that two sets of them have counted, by address."""
    return {
        address: Histogram.merged(part[address] for part in (first, second) if address in part)
        for address in {**first, **second}
    }
