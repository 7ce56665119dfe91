"""The label loss of each image of a batch, as if the image were a batch of its own: what the descent records of images.

A criterion divides by what it matched in the whole batch, so an image's share of a batch's loss depends on its
neighbours. Its loss alone does not. `EachAlone` asks the criterion about one image after the other, which any family
can. `Captured` listens to Ultralytics' criterion while it computes the batch's loss, so that nothing is matched again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from ultralytics.utils.loss import v8DetectionLoss

from edgegd.detectors.loss_terms import joined


class ImageLosses(Protocol):
    """Made before the steps, asked after each loss of a batch, closed after them. It draws no random number."""

    def of(self, batch: dict[str, Any], predictions: Any) -> torch.Tensor:
        """The losses (N,) of the images of the batch whose label loss was computed last, without a gradient."""

    def close(self) -> None:
        """Leaves the model as it was."""


class EachAlone:
    """One call of the family's criterion per image; `family` is an edgegd.detectors.families.family.Family."""

    def __init__(self, family: Any, model: Any) -> None:
        self._family, self._model = family, model

    @torch.no_grad()
    def of(self, batch: dict[str, Any], predictions: Any) -> torch.Tensor:
        """See ImageLosses."""
        count = len(batch["img"])
        images = (torch.arange(count, device=batch["img"].device) == index for index in range(count))
        losses = []
        for chosen in images:
            own = self._family.predictions_of(predictions, chosen)
            losses.append(joined(self._family.label_terms(self._model, batch_of(batch, chosen), own), None)[0])
        return torch.stack(losses)

    def close(self) -> None:
        """Nothing."""


class Captured:
    """From Ultralytics' criteria, each with the weight of its branch (ultralytics/utils/loss.py, v8DetectionLoss).

    The class loss is unreduced where the criterion's `bce` returns it. The box losses are linear in the weight of each
    matched anchor, so the derivative by these weights, times the weights, is what each image adds (Euler's theorem for
    homogeneous functions); box decoding, IoU and distances stay Ultralytics'.
    """

    def __init__(self, criteria: Sequence[tuple[v8DetectionLoss, float]]) -> None:
        self._branches = [(_Branch(criterion), weight) for criterion, weight in criteria]

    def of(self, batch: dict[str, Any], predictions: Any) -> torch.Tensor:
        """See ImageLosses."""
        return torch.stack([branch.losses * weight for branch, weight in self._branches]).sum(0)

    def close(self) -> None:
        """Takes the hooks away."""
        for branch, _ in self._branches:
            branch.close()


class _Branch:
    """One criterion; `losses` (N,) are those of the last batch."""

    def __init__(self, criterion: v8DetectionLoss) -> None:
        self._criterion: Any = criterion
        self._of_classes = self._matched = self.losses = torch.zeros(0)
        self._hooks = [
            criterion.bce.register_forward_hook(self._see_classes),
            criterion.bbox_loss.register_forward_hook(self._see_boxes),
        ]

    def _see_classes(self, module: Any, arguments: tuple[Any, ...], result: torch.Tensor) -> None:
        losses, targets = result.detach(), arguments[1].detach()  # (N, A, classes) both
        if self._criterion.class_weights is not None:
            losses = losses * self._criterion.class_weights
        self._of_classes, self._matched = losses.sum((1, 2)), targets.sum((1, 2)).clamp(min=1)

    def _see_boxes(self, module: Any, arguments: tuple[Any, ...], result: Any) -> None:
        distances, boxes, anchors, targets, scores, _, *others = arguments
        weights = scores.detach().sum(2, keepdim=True).requires_grad_()  # (N, A, classes) -> (N, A, 1)
        gains = self._criterion.hyp
        with torch.enable_grad():
            of_iou, of_distance = module.forward(
                distances.detach(), boxes.detach(), anchors, targets, weights, weights.new_ones(()), *others
            )
            (slopes,) = torch.autograd.grad(gains.box * of_iou + gains.dfl * of_distance, weights)
        of_boxes = (slopes * weights.detach()).sum((1, 2))
        self.losses = (gains.cls * self._of_classes + of_boxes) / self._matched

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()


def batch_of(batch: dict[str, Any], chosen: torch.Tensor) -> dict[str, Any]:
    """The chosen images (N,) bool of a batch, with their boxes, which come to belong to images 0, 1, ... of them."""
    chosen = chosen.to(batch["img"].device)
    owners = batch["batch_idx"].long()
    places, own = chosen.cumsum(0) - 1, chosen[owners]
    kept = {key: batch[key][own] for key in ("cls", "bboxes")} | {"img": batch["img"][chosen]}
    if batch.get("labelled") is not None:
        kept["labelled"] = batch["labelled"][chosen.to(batch["labelled"].device)]
    return {**batch, **kept, "batch_idx": places[owners[own]].to(batch["batch_idx"])}


def rows_of(value: Any, chosen: torch.Tensor) -> Any:
    """Nested lists, tuples and dicts with only the chosen images (N,) bool of every tensor (N, ...)."""
    if isinstance(value, torch.Tensor):
        return value[chosen]
    if isinstance(value, dict):
        return {key: rows_of(item, chosen) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(rows_of(item, chosen) for item in value)
    return value
