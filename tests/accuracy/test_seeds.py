"""Means over seeds. Oracle: Student's interval of a textbook example, and its coverage."""

from __future__ import annotations

import numpy as np
import pytest

from edgegd.accuracy.seeds import mean_of


def test_the_interval_of_three_values() -> None:
    # t of 2 degrees of freedom at 97.5 % is 4.3027; the standard error of 1, 2, 3 is 1 / sqrt(3).
    found = mean_of([1.0, 2.0, 3.0])
    assert (found.value, found.count) == (2.0, 3)
    assert found.low == pytest.approx(2 - 4.302653 / 3**0.5, abs=1e-5)
    assert found.high == pytest.approx(2 + 4.302653 / 3**0.5, abs=1e-5)


def test_one_value_has_no_interval() -> None:
    assert mean_of([0.5]).low is None
    with pytest.raises(ValueError, match="no value"):
        mean_of([])


def test_the_interval_holds_the_mean_as_often_as_it_says() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, (2000, 4))
    held = [found.low <= 3.0 <= found.high for found in map(mean_of, values.tolist())]  # type: ignore[operator]
    assert 0.94 <= np.mean(held) <= 0.96
