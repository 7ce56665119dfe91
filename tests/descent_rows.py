"""Lines of a descent's log made by hand, as a healthy one would leave them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from edgegd.recipe.training import TrainSection

GROUPS = tuple(f"model.{number}.conv:conv2d:0" for number in range(10))


def section(**settings: Any) -> dict[str, Any]:
    """The recipe's section `train`: 16 images a step, no warm-up."""
    return dataclasses.asdict(TrainSection(**{"warmup_epochs": 0.0, **settings}))


def healthy(steps: int, every: int = 8) -> list[dict[str, Any]]:
    """Losses that fall a little and vary by 5 %, gradients below the limit, a cosine; every so many steps a detail."""
    rows = []
    for step in range(1, steps + 1):
        rate = 0.5 * (1 + math.cos(math.pi * (step - 1) / steps))
        loss = 2.0 + 0.2 * math.exp(-step / 20) + 0.1 * math.sin(7.3 * step)
        row: dict[str, Any] = {
            "step": step,
            "epoch": 1 + (step - 1) // 40,
            "loss": loss,
            "lr": {"weights": 1e-4 * rate, "biases": 1e-4 * rate, "scales": 1e-3 * rate, "zero_points": 0.255 * rate},
            "gradient": {"weights": 5.0, "biases": 0.5, "scales": 1e-5, "zero_points": 1e-7, "all": 5.02},
            "clipped": False,
        }
        if step % every == 0:
            row["detail"] = _detail(rate)
        rows.append(row)
    return rows


def _detail(rate: float) -> dict[str, Any]:
    return {
        "layers": {group.split(":")[0]: {"gradient": 1.0, "size": 10.0, "update": 1e-4 * rate} for group in GROUPS},
        "codes_changed": {group.split(":")[0]: 0.02 * rate for group in GROUPS},
        "ranges": {group: dict(RANGE) for group in GROUPS},
        "ema_distance": 1e-4,
        "noise_scale": 20.0,
        "step_length": {"all": {"alpha": -0.8, "deviation": 0.2, "kind": "undershooting", "losses": [2.0, 1.99]}},
    }


RANGE = {"scale": 0.02, "zero_point": 0.0, "below": 0.0, "above": 1e-4, "used": 0.8, "dead": 0.0, "saturated": 0.0}
"""One range as it is looked at."""
