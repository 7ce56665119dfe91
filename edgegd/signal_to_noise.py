"""Signal-to-noise ratios in dB, as JSON can hold them."""

from __future__ import annotations

import math

NOISELESS_DB = 999.0
"""Stands for an infinite ratio; and its negative for one of nothing but noise."""
_LEAST = 10 ** (-NOISELESS_DB / 10)


def decibel(signal: float, noise: float, *, least: float = _LEAST) -> float:
    """The ratio of two powers (sums of squares) in dB, from -999 to 999.

    Noise of at most `least` times the signal counts as none: below, only rounding is left.
    """
    if noise <= signal * least:
        return NOISELESS_DB
    return max(10 * math.log10(max(signal, 1e-300) / noise), -NOISELESS_DB)
