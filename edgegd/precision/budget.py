"""Which plan of a front a recipe's budget takes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgegd.errors import PrecisionBudgetError
from edgegd.precision.result import Point
from edgegd.recipe.schema import PrecisionSection


def choose(points: Sequence[Point], budget: PrecisionSection) -> Point:
    """The plan that meets the budget: under a latency budget the most exact one, otherwise the fastest.

    Raises PrecisionBudgetError, which shows the nearest plan, where none meets it.
    """
    meeting = [point for point in points if shortfall(point, budget) <= 0]
    if not meeting:
        raise _none_meets(nearest(points, budget), budget)
    if budget.latency_ms is None and budget.latency_ratio is None:
        return min(meeting, key=lambda point: point.measured_ms)
    return max(meeting, key=lambda point: point.head_db)


def nearest(points: Sequence[Point], budget: PrecisionSection) -> Point:
    """The plan whose worst excess over the budget is the least."""
    return min(points, key=lambda point: shortfall(point, budget))


def shortfall(point: Point, budget: PrecisionSection) -> float:
    """How far a plan is beyond the worst limit: the logarithm of its excess of time, or of noise; <= 0 where met."""
    excess = [-math.inf]
    for value, limit in ((point.measured_ms, budget.latency_ms), (point.ratio, budget.latency_ratio)):
        if limit is not None:
            excess.append(math.log(value / limit))
    if budget.head_db is not None:
        excess.append((budget.head_db - point.head_db) / 10 * math.log(10))
    return max(excess)


def _none_meets(point: Point, budget: PrecisionSection) -> PrecisionBudgetError:
    asked = [
        text
        for limit, text in (
            (budget.latency_ms, f"at most {budget.latency_ms} ms"),
            (budget.latency_ratio, f"at most {budget.latency_ratio} of FP32's latency"),
            (budget.head_db, f"at least {budget.head_db} dB at the head"),
        )
        if limit is not None
    ]
    return PrecisionBudgetError(
        "No plan meets the budget.",
        expected=" and ".join(asked),
        found=f"the nearest is {point.name}: {point.measured_ms:.2f} ms, {point.ratio:.3f} of FP32's latency, "
        f"{point.head_db:.1f} dB at the head",
        mend="loosen the budget (section precision of the recipe) to what the front in precision.json has",
    )
