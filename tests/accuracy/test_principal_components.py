"""Principal components of features. Oracle: points on a known plane, and numpy's eigenvectors of the covariance."""

from __future__ import annotations

import numpy as np
import pytest

from edgegd.accuracy.principal_components import principal_components


def test_they_are_the_eigenvectors_of_the_correlations() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(50, 6)) * [1, 5, 0.1, 2, 3, 1] + random.normal(size=(50, 1)) * [1, 1, 1, 0, 0, 0]
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    values, vectors = np.linalg.eigh(scaled.T @ scaled)
    coordinates, shares = principal_components(features)
    for component in range(2):
        assert np.abs(coordinates[:, component]) == pytest.approx(np.abs(scaled @ vectors[:, -1 - component]))
    assert shares == pytest.approx((values[::-1] / values.sum())[:2])


def test_the_map_does_not_depend_on_units_or_on_the_order_of_images() -> None:
    features = np.random.default_rng(1).normal(size=(20, 5))
    coordinates, _ = principal_components(features)
    assert principal_components(features * [1, 10, 100, 1e-3, 1] + 7)[0] == pytest.approx(coordinates)
    assert principal_components(features[::-1])[0] == pytest.approx(coordinates[::-1])


@pytest.mark.parametrize("features", [np.zeros((0, 3)), np.ones((1, 3)), np.full((4, 3), 2.5)])
def test_images_that_do_not_differ_lie_on_one_point(features: np.ndarray) -> None:
    coordinates, shares = principal_components(features)
    assert coordinates.shape == (len(features), 2) and not coordinates.any() and shares == [0.0, 0.0]


def test_two_images_have_one_component() -> None:
    coordinates, shares = principal_components(np.array([[0.0, 1.0], [2.0, 1.0]]))
    assert coordinates[:, 0] == pytest.approx([-1, 1]) and not coordinates[:, 1].any()
    assert shares == pytest.approx([1.0, 0.0])
