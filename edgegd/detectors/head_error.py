"""How far a quantized detector's predictions are from its float form's, on images that both are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from edgegd.detectors.distillation import feature_difference
from edgegd.detectors.families.registry import family_of
from edgegd.detectors.head_predictions import entering_maps, head_predictions


class HeadError:
    """The difference from the deployed float `detector` on images (1, C, H, W) in 0..1, which are kept in memory.

    It is the divergence of distillation, in nats, whose curvature chooses ranges (edgegd.detectors.curvature); where a
    family's predictions cannot be compared one by one, the relative noise of the maps that enter the head. `unit` says
    which.
    """

    @torch.no_grad()
    def __init__(self, detector: Any, images: Iterable[torch.Tensor]) -> None:
        self._detector, self._family = detector.eval(), family_of(detector)
        self._images = list(images)
        self._wanted = [self._shown(detector, image) for image in self._images]
        self.unit = "relative noise" if self._family.no_head_distillation else "nats"

    @torch.no_grad()
    def of(self, model: Callable[[torch.Tensor], Any]) -> list[float]:
        """The difference for each image when `model`, a form of the detector, runs it; 0 where there is none."""
        return [
            self._difference(self._shown(model, image), wanted)
            for image, wanted in zip(self._images, self._wanted, strict=True)
        ]

    def _shown(self, model: Callable[[torch.Tensor], Any], image: torch.Tensor) -> Any:
        if self._family.no_head_distillation:
            return [x.clone() for x in entering_maps(self._detector, model, image)]
        return head_predictions(self._detector, model, image)

    def _difference(self, own: Any, wanted: Any) -> float:
        if self._family.no_head_distillation:
            noises = [feature_difference(x, target)[0] for x, target in zip(own, wanted, strict=True)]
            return float(torch.stack(noises).mean())
        return max(0.0, float(self._family.head_difference(own, wanted)[0]))  # rounding may leave less than nothing
