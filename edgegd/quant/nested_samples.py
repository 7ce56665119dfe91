"""Disjoint samples of many sizes from one pass over the images: histograms of parts merge to those of larger ones.

Parts of equal size come one after another, and neighbours merge in pairs, as in a binary counter: sample number i of n
images holds the images from i n to (i + 1) n. Only one sample of each size waits for its neighbour at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from edgegd.quant.growing_set import Histograms, merged

WORTH_A_POINT = 1.25
"""All images together are a sample of their own where they are so many times the largest sample of full size."""


@dataclass(frozen=True)
class Counted:
    """The images from `start` on: what was counted on them, and by sensitivity on the first `sensed` of them."""

    start: int
    images: int
    histograms: Histograms
    sensitivities: Histograms
    sensed: int


def nested_samples(parts: Iterable[Counted], sensed: int) -> Iterator[Counted]:
    """Every sample of one, two, four, ... equal parts, each as soon as it is counted; the last one is all images.

    The last part may be smaller, and is in that last sample alone. A sample's sensitivities are those of its first
    `sensed` images.
    """
    waiting: list[Counted | None] = []
    size, tail = 0, None
    for part in parts:
        size = size or part.images
        if part.images < size:
            tail = part
            continue
        sample, level = part, 0
        yield sample
        while level < len(waiting) and (before := waiting[level]):
            sample, waiting[level] = _joined(before, sample, sensed), None
            yield sample
            level += 1
        waiting[level : level + 1] = [sample]
    # What waits longest began first.
    rest = [sample for sample in (tail, *waiting) if sample is not None]
    if not rest:
        return
    whole = rest.pop()
    if rest:
        while rest:
            whole = _joined(whole, rest.pop(), sensed)
        yield whole


def _joined(first: Counted, second: Counted, sensed: int) -> Counted:
    """Two neighbours as one sample."""
    is_full = first.sensed >= sensed or not second.sensed
    return Counted(
        first.start,
        first.images + second.images,
        merged(first.histograms, second.histograms),
        first.sensitivities if is_full else merged(first.sensitivities, second.sensitivities),
        first.sensed if is_full else first.sensed + second.sensed,
    )
