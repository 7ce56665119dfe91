"""How far a quantized detector is from its float form at the head. Oracle: the family's own difference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import nn

from edgegd.detectors import head_error, head_predictions
from edgegd.detectors.deployment import deploy
from edgegd.detectors.families.registry import family_of
from edgegd.detectors.float_checkpoint import open_checkpoint
from edgegd.detectors.head_error import HeadError

IMAGES = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)).split(1)


@pytest.fixture(scope="module")
def detector() -> Any:
    """The deployed detector that ships with the project."""
    return deploy(open_checkpoint(Path(__file__).parents[2] / "models/streets-yolo26n-320.pt"))


class Disturbed(nn.Module):
    """The detector on images that are off by so much."""

    def __init__(self, detector: Any, error: float) -> None:
        super().__init__()
        self.detector, self.error = detector, error

    def forward(self, image: torch.Tensor) -> object:
        return self.detector(image + self.error)


def test_it_is_the_familys_difference_image_by_image(detector: Any) -> None:
    modes = [module.training for module in detector.eval().modules()]
    heads = HeadError(detector, IMAGES)
    assert heads.unit == "nats" and heads.of(detector) == [0, 0, 0]
    disturbed = Disturbed(detector, 0.2)
    found, family = heads.of(disturbed), family_of(detector)
    assert [module.training for module in detector.modules()] == modes
    family.show_predictions(detector)
    with torch.no_grad():
        for image, error in zip(IMAGES, found, strict=True):
            own, wanted = (model(image)["one2many"] for model in (disturbed, detector))
            assert error == pytest.approx(float(family.head_difference(own, wanted)[0]), rel=1e-4) and error > 1e-4
    detector.eval()
    assert sum(heads.of(Disturbed(detector, 0.4))) > sum(found)


def test_heads_that_cannot_be_compared_are_judged_by_what_enters_them(detector: Any) -> None:
    """As RT-DETR's."""
    other = replace(family_of(detector), no_head_distillation="as RT-DETR")  # type: ignore[type-var]
    with patch.object(head_error, "family_of", lambda _: other):
        heads = HeadError(detector, IMAGES)
        assert heads.unit == "relative noise" and heads.of(detector) == [0, 0, 0]
        disturbed = Disturbed(detector, 0.2)
        found = heads.of(disturbed)
    with torch.no_grad():
        own, wanted = (head_predictions.entering_maps(detector, model, IMAGES[1]) for model in (disturbed, detector))
    noises = [float((x - y).square().mean() / y.square().mean()) for x, y in zip(own, wanted, strict=True)]
    assert found[1] == pytest.approx(sum(noises) / 3, rel=1e-4) and noises[0] > 1e-6
