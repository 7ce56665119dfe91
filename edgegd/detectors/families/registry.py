"""The families that are known. A new one is a module beside this one and a line here."""

from __future__ import annotations

from torch import nn

from edgegd.detectors.families.family import Family
from edgegd.detectors.families.rtdetr import Rtdetr
from edgegd.detectors.families.torchvision_ssd import TorchvisionSsd
from edgegd.detectors.families.ultralytics_detect import UltralyticsDetect
from edgegd.errors import UnsupportedModelError

FAMILIES: tuple[Family, ...] = (UltralyticsDetect(), Rtdetr(), TorchvisionSsd())


def find_family(model: nn.Module) -> Family | None:
    """The family of a detector, deployed or not; None for a module of no family."""
    return next((family for family in FAMILIES if family.recognises(model)), None)


def family_of(model: nn.Module) -> Family:
    """The family of a detector, deployed or not; UnsupportedModelError, which names it, for a model of none."""
    family = find_family(model)
    if family is not None:
        return family
    layers = getattr(model, "model", None)
    head = type(layers[-1] if isinstance(layers, nn.Sequential) and len(layers) else model).__name__
    raise UnsupportedModelError(
        f"The model's last layer is a {head}.",
        expected="the head of an Ultralytics detector (YOLOv8, v9, v10, 11, 12, 26, RT-DETR), or torchvision's SSDLite",
        found=head,
        mend="choose a checkpoint of one of these families",
    )
