"""Bootstrap bounds that hold with few images.

The percentile bootstrap is too narrow twice: it spreads as if the variance were divided by n instead of n - 1, and it
has a normal tail where n images give Student's. Hesterberg's expanded percentiles mend both: the percentile is taken at
Phi(-sqrt(n / (n - 1)) t), t being Student's quantile of n - 1 degrees of freedom, instead of at alpha (Hesterberg 2015,
The American Statistician 69(4), 371-386, section 4.1). benchmarks/interval_coverage.py counts what it changes.
"""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_NORMAL = NormalDist()


def expanded_tail(alpha: float, images: int) -> float:
    """The share of the draws beyond a one-sided bound at `alpha` (below 0.5) from so many images, at least 6.

    Below `alpha`, and nearer to it the more images there are.
    """
    return _NORMAL.cdf(-sqrt(images / (images - 1)) * student_quantile(1 - alpha, images - 1))


def student_quantile(share: float, degrees: int) -> float:
    """The quantile of Student's t distribution, within 0.001 from 5 degrees of freedom on for shares up to 0.95.

    Abramowitz and Stegun (1964), Handbook of Mathematical Functions, 26.7.5.
    """
    z = _NORMAL.inv_cdf(share)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(degrees) ** power for power, term in enumerate(terms, start=1))


def one_sided_bounds(values: NDArray[np.float64], alpha: float, images: int) -> tuple[float, float]:
    """(low, high) of bootstrapped `values` (R,) from so many images: each is exceeded with probability `alpha`.

    NaNs, which are draws without a labelled box, are left out.
    """
    tail = 100 * expanded_tail(alpha, images)
    low, high = np.nanpercentile(values, [tail, 100 - tail], method="weibull")  # unbiased with few draws too
    return float(low), float(high)


def standard_error(values: NDArray[np.float64], images: int) -> float:
    """Of what was bootstrapped as `values` (R,) from so many images, as if its variance were divided by n - 1."""
    return float(np.nanstd(values, ddof=1)) * sqrt(images / (images - 1))
