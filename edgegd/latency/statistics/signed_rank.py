"""Wilcoxon's signed-rank test of log ratios against a margin, and the estimate and bounds that belong to it.

Wilcoxon (1945), Biometrics Bulletin 1(6); estimate and bounds: Hodges and Lehmann (1963), Annals of Mathematical
Statistics 34(2), as inverted in Hollander, Wolfe and Chicken (2014), Nonparametric Statistical Methods, 3.1 to 3.3. The
observations must be independent and symmetric about their centre; the log ratio of two fresh processes whose places are
drawn by lot is.

The statistic is the number of Walsh averages (x_i + x_j) / 2, i <= j, above the margin. Without ties it is the sum of
the ranks of |x - margin| over x > margin, as scipy has it. **Ties and zeros count against whoever claims something**:
an average that equals the margin is not above it. That is the least value that breaking the ties could give, so the
exact distribution without ties stays valid (conservative), no normal approximation is ever needed, and a bound is
beyond the margin exactly when the test against that margin rejects.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats


@lru_cache(maxsize=64)
def null_tail(launches: int) -> NDArray[np.float64]:
    """(launches (launches + 1) / 2 + 1,) the exact P(statistic >= w) for every w, if the centre is the margin.

    From scipy.stats.wilcoxon on signed ranks of every attainable sum; the least value is 2^-launches.
    """
    ranks = np.arange(1, launches + 1)
    signed = np.tile(-ranks.astype(np.float64), (int(ranks.sum()) + 1, 1))
    left = np.arange(len(signed))
    for rank in ranks[::-1]:  # the largest ranks first reach every sum
        taken = rank <= left
        signed[taken, rank - 1] = rank
        left = left - rank * taken
    tail = np.asarray(stats.wilcoxon(signed, alternative="greater", method="exact", axis=1).pvalue)
    tail.flags.writeable = False
    return tail


def statistic(log_ratios: NDArray[np.float64], margin: float) -> NDArray[np.int64]:
    """(...) how many Walsh averages of the last axis of (..., launches) are above `margin` (a log ratio)."""
    deviations = log_ratios - margin
    above = deviations > 0
    # Of two equal sizes the one that is not above gets the higher rank: their average is not above either.
    order = np.lexsort((~above, np.abs(deviations)), axis=-1)
    ranks = np.arange(1, log_ratios.shape[-1] + 1)
    return np.asarray(np.take_along_axis(above, order, axis=-1) @ ranks, dtype=np.int64)


def p_slower(log_ratios: NDArray[np.float64], margin: float) -> NDArray[np.float64]:
    """(...) exact one-sided p-values of H0: the centre of (..., launches) log ratios is at most `margin`."""
    return null_tail(log_ratios.shape[-1])[statistic(log_ratios, margin)]


def p_faster(log_ratios: NDArray[np.float64], margin: float) -> NDArray[np.float64]:
    """(...) exact one-sided p-values of H0: the centre of (..., launches) log ratios is at least `margin`."""
    return p_slower(-log_ratios, -margin)


def walsh_averages(log_ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """(launches (launches + 1) / 2,) the averages of all pairs of (launches,), each with itself too, ascending."""
    first, second = np.triu_indices(len(log_ratios))
    return np.sort((log_ratios[first] + log_ratios[second]) / 2)


def hodges_lehmann(log_ratios: NDArray[np.float64]) -> float:
    """The Hodges-Lehmann estimate of the centre of (launches,): the median of the Walsh averages."""
    return float(np.median(walsh_averages(log_ratios)))


def lower_bound(log_ratios: NDArray[np.float64], alpha: float) -> float:
    """The centre of (launches,) is above this with confidence 1 - alpha: above `margin` exactly when `p_slower` of that
    margin is at most alpha. -inf where so few launches cannot bound it (2^-launches > alpha)."""
    tail = null_tail(len(log_ratios))
    needed = int(np.count_nonzero(tail > alpha))  # the least statistic that rejects
    return float(walsh_averages(log_ratios)[-needed]) if needed < len(tail) else -np.inf


def upper_bound(log_ratios: NDArray[np.float64], alpha: float) -> float:
    """The centre of (launches,) is below this with confidence 1 - alpha; the mirror image of `lower_bound`."""
    return -lower_bound(-log_ratios, alpha)
