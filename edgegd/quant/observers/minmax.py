"""The observer `minmax`: the extremes seen."""

from __future__ import annotations

from edgegd.quant.code_errors import CodeErrors, affine_range


def choose(errors: CodeErrors, percentile: float) -> tuple[float, int]:
    """Scale and zero point."""
    return affine_range(errors.histogram.low, errors.histogram.high)
