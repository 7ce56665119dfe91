"""The curvature of a detector's own predictions, as contractions whose squared gradients have it as their mean.

The loss is that of distillation (edgegd.detectors.distillation): the divergence of class scores, and of boxes as far as
the detector believes in an object there. Around the detector itself it is a quadratic form; p(1 - p) / 2 is its weight
for a class score, q(1 - q) / 2 for a bin of a box side's distribution (its diagonal), 1 / 2 for a distance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from edgegd.detectors.families.registry import family_of


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
        head = self._family.head(self._detector)
        if self._family.no_head_distillation:
            maps: list[torch.Tensor] = []
            hook = head.register_forward_pre_hook(lambda _, arguments: maps.extend(arguments[0]))
            try:
                model(image)
            finally:
                hook.remove()
            return torch.stack([(self._signs(x) * x).sum() / x.detach().square().sum().sqrt() for x in maps]).sum()
        self._family.show_predictions(self._detector)
        try:
            predictions = model(image)
        finally:
            head.training = False
        branches = self._family.branch_weights(self._detector)
        return self._contraction(predictions[max(branches, key=branches.__getitem__)] if branches else predictions)

    def _contraction(self, predictions: dict[str, torch.Tensor]) -> torch.Tensor:
        if "logits" in predictions:  # one softmax of all classes, the first of them the background
            scores, boxes = predictions["logits"], predictions["offsets"].unflatten(1, (4, 1))
            p = scores.detach().softmax(1)
            belief = 1 - p[:, 0]
        else:
            scores, boxes = predictions["scores"], predictions["boxes"].unflatten(1, (4, -1))  # -> (1, 4, bins, A)
            p = scores.detach().sigmoid()
            belief = p.amax(1)  # (1, classes, A) -> (1, A)
        shares = boxes.detach().softmax(2)
        curvature = torch.ones_like(shares) if shares.shape[2] == 1 else shares * (1 - shares)
        of_boxes = (curvature / 2 / 4 * belief[:, None, None] / belief.sum()).sqrt()
        of_scores = (p * (1 - p) / 2 / belief.sum()).sqrt()
        return (self._signs(scores) * of_scores * scores).sum() + (self._signs(boxes) * of_boxes * boxes).sum()

    def _signs(self, x: torch.Tensor) -> torch.Tensor:
        """Random signs of the shape of x."""
        return (torch.randint(0, 2, x.shape, generator=self._generator) * 2 - 1).to(x)
