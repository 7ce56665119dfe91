"""What changes over the steps of a descent: learning rates, the freezing of ranges, annealed coefficients."""

from __future__ import annotations

import math

from edgegd.recipe.training import TrainSection


def learning_rate_factor(step: int, steps: int, warmup_steps: int, lrf: float) -> float:
    """Linear warm-up to 1, then a cosine down to `lrf` (Loshchilov and Hutter 2017, equation 5); steps from 0."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(steps - warmup_steps, 1)
    return lrf + (1 - lrf) * half_cosine(progress)


def half_cosine(progress: float) -> float:
    """From 1 at progress 0 to 0 at progress 1."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def ranges_learn(epoch: int, settings: TrainSection) -> bool:
    """Whether ranges still learn in an epoch (from 1)."""
    return epoch <= settings.epochs - settings.freeze_ranges_epochs
