"""SSDLite of torchvision: default boxes and one softmax per box; its raw output needs NMS, as YOLO's does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from ultralytics.utils import IterableSimpleNamespace

from edgegd.detectors.families.family import Family
from edgegd.detectors.families.folding import fold_all, learn_everything
from edgegd.detectors.families.head_difference import Curvatures, Difference, softmax_curvature, softmax_difference
from edgegd.detectors.families.ssd_detector import SsdDetector
from edgegd.detectors.loss_terms import LossTerm, Parts
from edgegd.errors import UnsupportedModelError
from edgegd.plan.profiles.table import HeadPaths


@dataclass(frozen=True)
class TorchvisionSsd(Family):
    """torchvision's loss, on the quantized model's predictions. hardswish, hardsigmoid and ReLU6 stay float."""

    name: str = "SSD"
    no_float_training: str = "Ultralytics, which trains in float here, does not know it"

    def recognises(self, model: nn.Module) -> bool:
        """By its class."""
        return isinstance(model, SsdDetector)

    def head(self, model: Any) -> Any:
        """The module `head`."""
        return model.head

    def deploy(self, model: Any, *, end2end: bool | None, fold: bool) -> nn.Module:
        """In place: the image's normalization becomes part of the first convolution, see SsdDetector."""
        if end2end:
            raise UnsupportedModelError(
                "model.end2end is true, but SSD has no end-to-end head.", mend="leave model.end2end out"
            )
        model.float()
        if fold:
            fold_all(model)
            if model.mean:
                model.fold_normalization()
        for module in model.modules():
            if hasattr(module, "inplace"):
                module.inplace = False  # what fake quantization keeps for its gradient must not be written over
        learn_everything(model)
        return model  # type: ignore[no-any-return]

    def output_kind(self, model: Any) -> str:
        """Always `raw`."""
        return "raw"

    def head_paths(self, model: Any) -> HeadPaths:
        """The box convolutions are the last ones of the box branches."""
        last = (f"head.boxes.{index}.{len(branch) - 1}" for index, branch in enumerate(model.head.boxes))
        return HeadPaths("head", frozenset(last))

    def prepare_loss(self, model: Any, hyp: IterableSimpleNamespace) -> None:
        """Nothing: torchvision's loss has no settings."""

    def label_terms(self, model: Any, batch: dict[str, Any], predictions: Any) -> list[LossTerm]:
        """SSD.compute_loss of torchvision: means over the default boxes that have an object."""
        from torchvision.ops import box_convert

        # Those of the forward pass that made the predictions. They are no prediction: they have no axis of images.
        corners = box_convert(model.head.default_boxes.values.T, "cxcywh", "xyxy")  # (boxes, 4)
        targets = _targets(batch)
        outputs = {
            "cls_logits": predictions["logits"].transpose(1, 2).contiguous(),  # (N, kinds, boxes) -> (N, boxes, kinds)
            "bbox_regression": predictions["offsets"].transpose(1, 2),
        }
        matches = [_matches(model.rules.proposal_matcher, target["boxes"], corners) for target in targets]
        parts: Parts = model.rules.compute_loss(targets, outputs, [corners] * len(targets), matches)
        found = torch.stack([(match >= 0).sum() for match in matches]).sum()
        loss = torch.stack(list(parts.values())).sum()
        return [LossTerm(loss, {name: part.detach() for name, part in parts.items()}, found)]

    def show_predictions(self, model: Any) -> None:
        """A head in training mode returns what it has computed before decoding."""
        model.head.training = True

    def head_difference(self, own: Any, target: Any) -> Difference:
        """One softmax chooses among the classes and the background; see softmax_difference."""
        return softmax_difference(own, target)

    def head_curvature(self, predictions: Any) -> Curvatures:
        """Of the same; see softmax_curvature."""
        return softmax_curvature(predictions)


def _targets(batch: dict[str, Any]) -> list[dict[str, torch.Tensor]]:
    """The labels of each image as torchvision has them: corners in pixels; class 0 is the background."""
    from torchvision.ops import box_convert

    height, width = batch["img"].shape[2:]
    boxes, owners = batch["bboxes"].float(), batch["batch_idx"].view(-1)
    corners = box_convert(boxes, "cxcywh", "xyxy") * boxes.new_tensor([width, height, width, height])
    is_box = (boxes[:, 2:] > 0).all(1)  # the loss takes the logarithm of their sides
    of_image = [(owners == index) & is_box for index in range(len(batch["img"]))]
    labels = batch["cls"].view(-1).long() + 1
    return [{"boxes": corners[mask], "labels": labels[mask]} for mask in of_image]


def _matches(matcher: Any, targets: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """For each default box the target that it is to find, or -1."""
    from torchvision.ops import box_iou

    if not len(targets):
        return torch.full((len(boxes),), -1, dtype=torch.int64, device=boxes.device)
    matched: torch.Tensor = matcher(box_iou(targets, boxes))
    return matched
