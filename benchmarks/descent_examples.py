"""The examples of one weight in docs/descent.md."""

from __future__ import annotations

import numpy as np


def one_weight(weight: float, rate: float, steps: int) -> list[float]:
    """The weight before and after each step of gradient descent on (w - 2)^2, whose gradient is 2 (w - 2)."""
    found = [weight]
    for _ in range(steps):
        weight -= rate * 2 * (weight - 2)
        found.append(weight)
    return found


def full_and_rounded(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The losses (w - 2.3)^2 and (round(w) - 2.3)^2."""
    return (weights - 2.3) ** 2, (np.round(weights) - 2.3) ** 2


def rounded_weight(weight: float, rate: float, steps: int) -> list[float]:
    """The weight before and after each step on (round(w) - 2.3)^2 with the gradient straight through the rounding."""
    found = [weight]
    for _ in range(steps):
        weight -= rate * 2 * (round(weight) - 2.3)
        found.append(weight)
    return found
