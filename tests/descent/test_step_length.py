"""The length of a step. Oracle: parabolas whose minimum is known."""

from __future__ import annotations

import math

import pytest

from edgegd.descent.step_length import kind_of, step_length


def parabola(minimum: float, height: float = 3.0) -> tuple[tuple[float, float], tuple[float, float]]:
    """Losses and slopes at 0 and 1 of (t - minimum)^2 + height."""
    return (minimum**2 + height, (1 - minimum) ** 2 + height), (-2 * minimum, 2 * (1 - minimum))


@pytest.mark.parametrize(
    ("minimum", "alpha", "kind"),
    [
        (10.0, -0.9, "undershooting"),
        (1.0, 0.0, "at the minimum"),
        (2 / 3, 0.5, "overshooting"),
        (0.52, 0.923077, "overshooting"),
        (0.25, 3.0, "beyond"),
    ],
)
@pytest.mark.parametrize("deviations", [(None, None), (0.1, 0.1), (1e-3, 5.0), (5.0, 1e-3)])
def test_a_parabola_is_found_whatever_the_noise_is_said_to_be(
    minimum: float, alpha: float, kind: str, deviations: tuple[float | None, float | None]
) -> None:
    found = step_length(*parabola(minimum), *deviations)
    assert found.alpha == pytest.approx(alpha, abs=1e-6) and found.kind == kind
    assert (found.deviation is None) == (deviations[0] is None)


def test_the_text_book_step() -> None:
    # (w - 2)^2 from w = 5 at rate 0.1: gradient 6, next weight 4.4; the minimum lies five such steps away.
    rate, weight = 0.1, 5.0
    gradient = 2 * (weight - 2)
    after = weight - rate * gradient
    assert (gradient, after) == (6.0, pytest.approx(4.4))
    step = after - weight
    found = step_length(((weight - 2) ** 2, (after - 2) ** 2), (gradient * step, 2 * (after - 2) * step))
    assert found.alpha == pytest.approx(-0.8) and found.kind == "undershooting"


def test_losses_that_contradict_the_slopes_win_where_they_have_less_noise() -> None:
    # Losses: b + c = -0.5. The slopes nearest to (-1, -0.8) with it are b = -0.6 and b + 2c = -0.4.
    losses, slopes = (1.0, 0.5), (-1.0, -0.8)
    assert step_length(losses, slopes, 1e-4, 10.0).alpha == pytest.approx(-2 / 3, abs=1e-3)
    assert step_length(losses, slopes, 10.0, 1e-4).alpha == pytest.approx(-0.8, abs=1e-3)


def test_the_deviation_is_that_of_repeated_noise() -> None:
    import numpy as np

    random = np.random.default_rng(0)

    def _noisy(values: tuple[float, float], deviation: float) -> tuple[float, float]:
        first, second = values + random.normal(0, deviation, 2)
        return float(first), float(second)

    losses, slopes = parabola(0.8)
    of_loss, of_slope = 0.02, 0.05
    alphas = [
        step_length(
            tuple(losses + random.normal(0, of_loss, 2)),
            tuple(slopes + random.normal(0, of_slope, 2)),
            of_loss,
            of_slope,
        ).alpha
        for _ in range(4000)
    ]
    said = step_length(losses, slopes, of_loss, of_slope).deviation
    assert said == pytest.approx(np.std(alphas), rel=0.1)


def test_what_is_no_descent_has_no_alpha() -> None:
    assert step_length((1.0, 2.0), (0.5, 1.5)).kind == "uphill"
    assert step_length((1.0, math.inf), (-1.0, math.nan)).kind == "beyond"


def test_kinds_meet_at_their_bounds() -> None:
    assert [kind_of(x) for x in (-0.21, -0.2, 0.2, 0.21, 1.0, 1.01)] == [
        "undershooting",
        "at the minimum",
        "at the minimum",
        "overshooting",
        "overshooting",
        "beyond",
    ]
