"""The curvature of a detector's own predictions, as contractions whose squared gradients have it as their mean.

The loss is that of distillation (edgegd.detectors.distillation): the divergence of class scores, and of boxes as far as
the detector believes in an object there. Around the detector itself it is a quadratic form, of which each family knows
the diagonal (edgegd.detectors.families.head_difference).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from edgegd.detectors.families.registry import family_of
from edgegd.detectors.head_predictions import entering_maps, head_predictions


class Curvature:
    """Contractions of the predictions of the deployed `detector`, which the models given to them run."""

    def __init__(self, detector: Any, seed: int) -> None:
        self._detector, self._family = detector, family_of(detector)
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, model: Callable[[torch.Tensor], Any], image: torch.Tensor) -> torch.Tensor:
        """The contraction for one image (1, C, H, W): a scalar with a gradient into all that made the predictions.

        Where a family's predictions cannot be compared one by one, it is of the maps that enter the head, each by its
        mean square.
        """
        if self._family.no_head_distillation:
            maps = entering_maps(self._detector, model, image)
            return torch.stack([(self._signs(x) * x).sum() / x.detach().square().sum().sqrt() for x in maps]).sum()
        own = head_predictions(self._detector, model, image)
        pairs = self._family.head_curvature(own)
        return torch.stack([(self._signs(x) * curvature.sqrt() * x).sum() for x, curvature in pairs]).sum()

    def _signs(self, x: torch.Tensor) -> torch.Tensor:
        """Random signs of the shape of x."""
        return (torch.randint(0, 2, x.shape, generator=self._generator) * 2 - 1).to(x)
