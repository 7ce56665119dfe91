"""Whether ranges, and what they cost, still depend on which images were drawn: the two rules of a calibration set.

A spread is the standard deviation of logarithms between disjoint samples: for small ones the relative deviation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgegd.quant.ranges import Range

MEDIAN_LIMIT, MOST_LIMIT = 0.02, 0.1
"""Ranges are stable where the spread of half of the scale groups is at most 2 %, and that of nine tenths at most 10 %.

A scale that is 10 % off adds 0.8 dB of noise to its tensor; a few groups of rare values never come to rest.
"""
_MOST = 0.9
_SHOWN = 3
_POOLED = 3
NOISES = 2.0
"""How many times the noise of a head error a sample may be worse and still be as good."""


@dataclass(frozen=True)
class Spread:
    """How far the scales of disjoint samples differ: over half of the scale groups, over nine tenths, and the worst.

    `worst` are the groups that differ the most, with their spreads, the largest first.
    """

    median: float
    most: float
    worst: tuple[tuple[str, float], ...]

    @property
    def is_stable(self) -> bool:
        """Whether the ranges have come to rest."""
        return self.median <= MEDIAN_LIMIT and self.most <= MOST_LIMIT


def spread_of(samples: Sequence[Mapping[str, Range]]) -> Spread:
    """The spread of the scales of at least two disjoint samples. Groups whose range is known do not count."""
    groups = [group for group, chosen in samples[0].items() if chosen.observer not in ("pixels", "known")]
    logarithms = np.log([[sample[group].scale for group in groups] for sample in samples])  # (samples, groups)
    spreads = logarithms.std(0, ddof=1)
    worst = sorted(zip(groups, spreads.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))[:_SHOWN]
    return Spread(float(np.median(spreads)), float(np.quantile(spreads, _MOST)), tuple(worst))


@dataclass(frozen=True)
class Enough:
    """The judgement of a curve: `noise` is that of the head error's logarithm, `limit` the largest error that is as
    good as that of the largest number; both None where no number has two samples. `images` is None where no number
    below the largest is as good.
    """

    images: int | None
    noise: float | None
    limit: float | None


def enough(errors: Mapping[int, Sequence[float]]) -> Enough:
    """How many images are enough, from the head errors (positive) of disjoint samples by the number of images.

    The smallest number from which on no sample is worse than the largest number by more than NOISES times the noise:
    the spread of the errors between disjoint samples, pooled over the three largest numbers that have several: of fewer
    samples it would itself be noise.
    """
    logarithms = {number: np.log(np.maximum(values, 1e-12)) for number, values in sorted(errors.items())}
    several = [values for values in logarithms.values() if len(values) > 1][-_POOLED:]
    if not several:
        return Enough(None, None, None)
    freedom = sum(len(values) - 1 for values in several)
    noise = float(np.sqrt(sum(np.square(values - values.mean()).sum() for values in several) / freedom))
    largest = max(logarithms)
    limit = float(logarithms[largest].mean()) + NOISES * noise
    chosen = None
    for number in sorted(logarithms, reverse=True)[1:]:
        if logarithms[number].max() > limit + 1e-9:
            break
        chosen = number
    return Enough(chosen, noise, float(np.exp(limit)))
