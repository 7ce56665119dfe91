"""YOLOv8, v9, v10, 11, 12, 26: Ultralytics' `Detect` head, raw, or end-to-end (NMS-free) where it has a second head.

A dual-head model keeps both heads when it is deployed: the one-to-many head is needed for training.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from ultralytics.nn.modules import Detect
from ultralytics.utils import IterableSimpleNamespace
from ultralytics.utils.loss import E2ELoss, v8DetectionLoss

from edgegd.detectors.families.family import Family
from edgegd.detectors.families.head_difference import Curvatures, Difference, sigmoid_curvature, sigmoid_difference
from edgegd.detectors.families.image_losses import Captured, ImageLosses
from edgegd.detectors.families.ultralytics_model import deploy_layers, head_path, last_layer, prepare_criterion
from edgegd.detectors.loss_terms import LossTerm
from edgegd.errors import UnsupportedModelError
from edgegd.plan.profiles.table import HeadPaths


@dataclass(frozen=True)
class UltralyticsDetect(Family):
    """Ultralytics' `Detect` and what inherits from it."""

    name: str = "YOLO"

    def recognises(self, model: nn.Module) -> bool:
        """By the class of the last layer."""
        return isinstance(last_layer(model), Detect)

    def head(self, model: Any) -> Any:
        """The last layer."""
        return last_layer(model)

    def deploy(self, model: Any, *, end2end: bool | None, fold: bool) -> nn.Module:
        """In place. `end2end` chooses the deployed head of a dual-head model; None keeps its own."""
        head = last_layer(model)
        if end2end and not _has_two_heads(head):
            raise UnsupportedModelError(
                "model.end2end is true, but the checkpoint has no end-to-end head.",
                mend="leave model.end2end out, or use a YOLOv10 or YOLO26 checkpoint",
            )
        if head.cv2 is None:
            raise UnsupportedModelError(
                "The checkpoint was fused: its one-to-many head, which training needs, is gone.",
                mend="use the checkpoint as Ultralytics' training saved it",
            )
        deploy_layers(model, fold=fold)
        if end2end is not None:
            head.end2end = end2end
        return model  # type: ignore[no-any-return]

    def output_kind(self, model: Any) -> str:
        """`end2end` or `raw`, as the head is set."""
        return "end2end" if last_layer(model).end2end else "raw"

    def head_paths(self, model: Any) -> HeadPaths:
        """The box convolutions are the last ones of every box branch, of both heads."""
        path = head_path(model)
        last = {f"cv2.{i}.{len(branch) - 1}" for i, branch in enumerate(last_layer(model).cv2)}
        last |= {name.replace("cv2", "one2one_cv2", 1) for name in last}
        return HeadPaths(path, frozenset(f"{path}.{name}" for name in last))

    def prepare_loss(self, model: Any, hyp: IterableSimpleNamespace) -> None:
        """Ultralytics' criterion."""
        prepare_criterion(model, hyp)

    def label_terms(self, model: Any, batch: dict[str, Any], predictions: Any) -> list[LossTerm]:
        """Ultralytics' criterion of each branch, weighted for the head that is deployed (see `branch_weights`).

        The named parts are those of the last branch, as in Ultralytics' own E2ELoss.
        """
        weights = self.branch_weights(model)
        if not weights:
            return [_criterion_term(model.criterion, batch, predictions)]
        branches = [_criterion_term(getattr(model.criterion, branch), batch, predictions[branch]) for branch in weights]
        terms = [
            LossTerm(branch.loss * weight, {}, branch.amount)
            for branch, weight in zip(branches, weights.values(), strict=True)
        ]
        return [*terms[:-1], replace(terms[-1], parts=branches[-1].parts)]

    def image_losses(self, model: Any) -> ImageLosses:
        """Captured from the criteria of all branches, where they are those whose insides are known."""
        weights = self.branch_weights(model)
        criteria = [(getattr(model.criterion, branch), weight) for branch, weight in weights.items()]
        criteria = criteria or [(model.criterion, 1.0)]
        known = all(type(one) is v8DetectionLoss for one, _ in criteria)
        return Captured(criteria) if known else super().image_losses(model)

    def branch_weights(self, model: Any) -> dict[str, float]:
        """A dual-head model's end-to-end head sends no gradient into the backbone, so its deployment keeps the
        one-to-many loss at the weight that Ultralytics' schedule ends with (E2ELoss.final_o2m). A raw deployment trains
        that head alone, and its end-to-end head gets no gradient."""
        head = last_layer(model)
        if not _has_two_heads(head):
            return {}
        if not head.end2end:
            return {"one2many": 1.0}
        final: float = E2ELoss(model).final_o2m
        return {"one2many": final, "one2one": 1.0 - final}

    def show_predictions(self, model: Any) -> None:
        """A head in training mode returns what it has computed before decoding."""
        last_layer(model).training = True

    def head_difference(self, own: Any, target: Any) -> Difference:
        """Every class score is one of its own; see sigmoid_difference."""
        return sigmoid_difference(own, target)

    def head_curvature(self, predictions: Any) -> Curvatures:
        """Of the same; see sigmoid_curvature."""
        return sigmoid_curvature(predictions)

    def head_outputs(self, model: Any, images: torch.Tensor) -> list[torch.Tensor]:
        """Raw scores (N, classes, A) and boxes (N, 4 * bins, A) of the deployed head, each for every level by itself.

        A level with few anchors finds the large objects, so it counts as much as one with many.
        """
        head = last_layer(model)
        self.show_predictions(model)
        try:
            predictions = model(images)
        finally:
            head.training = False
        if "scores" not in predictions:
            predictions = predictions["one2one" if head.end2end else "one2many"]
        anchors = [level.shape[2] * level.shape[3] for level in predictions["feats"]]
        return [*predictions["scores"].split(anchors, 2), *predictions["boxes"].split(anchors, 2)]


def _criterion_term(criterion: Any, batch: dict[str, Any], predictions: Any) -> LossTerm:
    """v8DetectionLoss: sums over the images, divided by the sum of the targets' scores, at least 1.

    What it returns is that times the number of images. The assigner, an nn.Module, makes the scores of the targets.
    """
    sums: list[torch.Tensor] = []
    hook = criterion.assigner.register_forward_hook(lambda _, arguments, assigned: sums.append(assigned[2].sum()))
    try:
        losses, parts = criterion.loss(predictions, batch)
    finally:
        hook.remove()
    return LossTerm(losses.sum() / len(batch["img"]), parts, sums[0])


def _has_two_heads(head: Any) -> bool:
    return getattr(head, "one2one_cv2", None) is not None
