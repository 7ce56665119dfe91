"""What a detector's head predicts, raw, and what enters it, whatever runs the detector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from edgegd.detectors.families.registry import family_of


def head_predictions(detector: Any, model: Callable[[torch.Tensor], Any], image: torch.Tensor) -> Any:
    """The raw predictions for images (N, C, H, W): what the family's `head_difference` takes, of the main branch.

    `model` runs the deployed `detector`, whose modules are in the modes afterwards that they were in before. Only for
    families without `no_head_distillation`.
    """
    family = family_of(detector)
    modes = [(module, module.training) for module in detector.modules()]
    family.show_predictions(detector)
    try:
        predictions = model(image)
    finally:
        for module, mode in modes:
            module.training = mode
    branches = family.branch_weights(detector)
    return predictions[max(branches, key=branches.__getitem__)] if branches else predictions


def entering_maps(detector: Any, model: Callable[[torch.Tensor], Any], image: torch.Tensor) -> list[torch.Tensor]:
    """The feature maps (N, C, H, W) that enter the head of the deployed `detector`, which `model` runs."""
    maps: list[torch.Tensor] = []
    hook = family_of(detector).head(detector).register_forward_pre_hook(lambda _, arguments: maps.extend(arguments[0]))
    try:
        model(image)
    finally:
        hook.remove()
    return maps
