"""Whether a step was too short or too long: the parabola through the loss before and after it.

Along the step taken, from t = 0 to t = 1, the loss is fitted by a + b t + c t^2 from two losses and two slopes (the
gradients' products with the step), each weighted by its noise. `alpha` is minus the slope at the end over that at the
start: -1 where the slope has not changed (undershooting), 0 at the minimum, 1 where the step has reached the same
height on the other side, above 1 beyond it. The idea and the scale are those of Schneider, Dangel and Hennig 2021
(Cockpit), section 3; here the noise comes from the half of the batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

AT_MINIMUM = 0.2
"""An alpha within this of 0 is called `at the minimum`."""


@dataclass(frozen=True)
class StepLength:
    """`alpha`, its standard deviation from the noise of the batch, and what they are called.

    `kind` is `undershooting`, `at the minimum`, `overshooting`, `beyond` (the loss is higher than before), or `uphill`
    where the step does not go down from its start, so that there is no alpha. `parabola` holds a, b and c of the fit;
    None where a loss or a slope is not finite.
    """

    alpha: float | None
    deviation: float | None
    kind: str
    parabola: tuple[float, float, float] | None = None


def step_length(
    losses: tuple[float, float],
    slopes: tuple[float, float],
    loss_deviation: float | None = None,
    slope_deviation: float | None = None,
) -> StepLength:
    """From the losses and slopes at the start and the end of a step, and the standard deviations of each.

    Without deviations, or where one is zero, losses and slopes count alike, and nothing is said of alpha's.
    """
    known = bool(loss_deviation and slope_deviation)
    of_loss, of_slope = (loss_deviation, slope_deviation) if known else (1.0, 1.0)
    rows = np.array([[1.0, 0, 0], [1, 1, 1], [0, 1, 0], [0, 1, 2]])
    values = np.array([*losses, *slopes])
    if not np.isfinite(values).all():
        return StepLength(None, None, "beyond")
    weights = 1 / np.array([of_loss, of_loss, of_slope, of_slope], dtype=np.float64)
    scale = weights.max()
    fit, *_ = np.linalg.lstsq(rows * (weights / scale)[:, None], values * weights / scale, rcond=None)
    parabola = float(fit[0]), float(fit[1]), float(fit[2])
    start, end = parabola[1], parabola[1] + 2 * parabola[2]
    if start >= 0:
        return StepLength(None, None, "uphill", parabola)
    alpha = -end / start
    deviation = None
    if known:
        covariance = np.linalg.inv((rows * weights[:, None]).T @ (rows * weights[:, None]))
        # alpha = -(b + 2c) / b, so its derivatives by b and c are 2c / b^2 and -2 / b.
        by = np.array([0.0, 2 * fit[2] / start**2, -2 / start])
        deviation = math.sqrt(float(by @ covariance @ by))
    return StepLength(alpha, deviation, kind_of(alpha), parabola)


def kind_of(alpha: float) -> str:
    """What an alpha is called."""
    if alpha < -AT_MINIMUM:
        return "undershooting"
    if alpha <= AT_MINIMUM:
        return "at the minimum"
    return "overshooting" if alpha <= 1 else "beyond"
