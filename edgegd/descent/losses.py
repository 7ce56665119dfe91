"""The training loss of every family: Ultralytics' own criterion, weighted for the head that is deployed."""

from __future__ import annotations

from typing import Any

import torch
from ultralytics.nn.tasks import RTDETRDetectionModel
from ultralytics.utils import IterableSimpleNamespace
from ultralytics.utils.loss import E2ELoss

from edgegd.descent.student import Student
from edgegd.quant.folding import detection_head


def prepare_loss(model: Any, hyp: IterableSimpleNamespace) -> None:
    """Gives the model Ultralytics' criterion, weighted for the head that is deployed (see `branch_weights`)."""
    model.args, model.nc = hyp, detection_head(model).nc  # as Ultralytics' trainer sets them
    model.criterion = model.init_criterion()
    if not isinstance(model.criterion, E2ELoss):
        return
    weights = branch_weights(model)
    if "one2one" in weights:
        model.criterion.o2m, model.criterion.o2o = weights["one2many"], weights["one2one"]
    else:
        one_to_many = model.criterion.one2many
        model.criterion = lambda predictions, batch: one_to_many.loss(predictions["one2many"], batch)


def branch_weights(model: Any) -> dict[str, float]:
    """The branches of a deployed dual-head detector that are trained, with their weights; empty for a single head.

    A dual-head model's end-to-end head sends no gradient into the backbone, so its deployment keeps the one-to-many
    loss at the weight that Ultralytics' schedule ends with (E2ELoss.final_o2m); a raw deployment trains that head
    alone, and its end-to-end head gets no gradient.
    """
    head: Any = detection_head(model)
    if getattr(head, "one2one_cv2", None) is None:
        return {}
    if not head.end2end:
        return {"one2many": 1.0}
    final: float = E2ELoss(model).final_o2m
    return {"one2many": final, "one2one": 1.0 - final}


def predict(student: Student, batch: dict[str, Any], *, labels: bool = True) -> Any:
    """What the student's head returns in training mode for `batch["img"]`, (N, C, H, W) float32, in float32.

    RT-DETR's decoder is also shown noisy labels to restore (denoising), unless `labels` is false.
    """
    if labels and isinstance(student.model, RTDETRDetectionModel):
        return in_float32(student(batch["img"], batch=_denoising_targets(batch)))
    return in_float32(student(batch["img"]))


def labelled_part(batch: dict[str, Any], predictions: Any) -> tuple[dict[str, Any], Any] | None:
    """The images of a batch that have labels, and what was predicted for them; None where none has.

    A batch without `labelled` is returned as it is. RT-DETR's predictions, which have another first axis, must not be
    of a batch with it.
    """
    labelled: torch.Tensor | None = batch.get("labelled")
    if labelled is None or bool(labelled.all()):
        return batch, predictions
    if not labelled.any():
        return None
    labelled = labelled.to(batch["img"].device)
    owners = batch["batch_idx"]
    places = labelled.cumsum(0) - 1  # of the labelled images among themselves; unlabelled ones have no boxes
    own = {**batch, "img": batch["img"][labelled], "batch_idx": places[owners.long()].to(owners)}
    return own, _rows(predictions, labelled)


def _rows(value: Any, chosen: torch.Tensor) -> Any:
    """Nested lists, tuples and dicts with only the chosen images (N,) of every tensor (N, ...)."""
    if isinstance(value, torch.Tensor):
        return value[chosen]
    if isinstance(value, dict):
        return {key: _rows(item, chosen) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_rows(item, chosen) for item in value)
    return value


def label_loss(
    student: Student, batch: dict[str, Any], predictions: Any
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The criterion's loss as a scalar per image, and its detached parts by name."""
    model: Any = student.model
    losses, parts = model.loss(batch, predictions)
    if isinstance(model, RTDETRDetectionModel):
        return losses, parts  # a mean over the labelled boxes already
    return losses.sum() / len(batch["img"]), parts


def _denoising_targets(batch: dict[str, Any]) -> dict[str, Any]:
    """The labels as RTDETRDetectionModel.loss hands them to its decoder (ultralytics/nn/tasks.py)."""
    device, images = batch["img"].device, len(batch["img"])
    owners = batch["batch_idx"].to(device, dtype=torch.long).view(-1)
    return {
        "cls": batch["cls"].to(device, dtype=torch.long).view(-1),
        "bboxes": batch["bboxes"].to(device),
        "batch_idx": owners,
        "gt_groups": torch.bincount(owners, minlength=images).tolist(),
    }


def in_float32(value: Any) -> Any:
    """Nested lists, tuples and dicts with every float tensor in float32: losses are computed outside autocast."""
    if isinstance(value, torch.Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, dict):
        return {key: in_float32(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(in_float32(item) for item in value)
    return value
