"""The first principal components of images' features, as a map on which like images lie close together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def principal_components(features: NDArray[np.floating], count: int = 2) -> tuple[NDArray[np.float64], list[float]]:
    """Coordinates (N, count) of the rows of `features` (N, F), and each component's share of the variance, in 0..1.

    Each feature counts by its standard deviations; one that is the same everywhere does not count. Of the two signs
    of a component that is taken with which its largest weight is positive, so that equal features give equal maps.
    Components that the rows do not have are 0.
    """
    values = np.asarray(features, np.float64)
    coordinates, shares = np.zeros((len(values), count)), [0.0] * count
    if len(values) < 2:
        return coordinates, shares
    spread = values.std(axis=0)
    varying = spread > 1e-9 * np.maximum(np.abs(values).max(axis=0), 1e-30)
    if not varying.any():
        return coordinates, shares
    scaled = (values[:, varying] - values[:, varying].mean(axis=0)) / spread[varying]
    left, singular, weights = np.linalg.svd(scaled, full_matrices=False)
    taken = min(count, len(singular))
    largest = np.abs(weights[:taken]).argmax(axis=1)
    signs = np.where(weights[np.arange(taken), largest] < 0, -1.0, 1.0)
    coordinates[:, :taken] = left[:, :taken] * singular[:taken] * signs
    variance = singular**2
    shares[:taken] = (variance[:taken] / variance.sum()).tolist()
    return coordinates, shares
