"""The training loss of every family: its own criterion, weighted for the head that is deployed."""

from __future__ import annotations

from typing import Any

import torch
from ultralytics.utils import IterableSimpleNamespace

from edgegd.detectors.families.image_losses import ImageLosses, batch_of, rows_of
from edgegd.detectors.families.registry import family_of
from edgegd.detectors.student import Student


def prepare_loss(model: Any, hyp: IterableSimpleNamespace) -> None:
    """Gives a deployed model its family's criterion, weighted for the head that is deployed (see `branch_weights`)."""
    family_of(model).prepare_loss(model, hyp)


def branch_weights(model: Any) -> dict[str, float]:
    """The branches of a deployed dual-head detector that are trained, with their weights; empty for a single head."""
    return family_of(model).branch_weights(model)


def predict(student: Student, batch: dict[str, Any], *, labels: bool = True) -> Any:
    """What the student's head returns in training mode for `batch["img"]`, (N, C, H, W) float32, in float32.

    RT-DETR's decoder is also shown noisy labels to restore (denoising), unless `labels` is false.
    """
    arguments = family_of(student.model).training_arguments(batch) if labels else {}
    return in_float32(student(batch["img"], **arguments))


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
    return batch_of(batch, labelled), rows_of(predictions, labelled.to(batch["img"].device))


def first_images(batch: dict[str, Any], count: int) -> dict[str, Any]:
    """The first images of a batch, with their boxes."""
    return batch_of(batch, torch.arange(len(batch["img"])) < count)


def label_loss(
    student: Student, batch: dict[str, Any], predictions: Any
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The criterion's loss as a scalar per image, and its detached parts by name."""
    return family_of(student.model).label_loss(student.model, batch, predictions)


def image_losses(student: Student) -> ImageLosses:
    """What tells the loss of each image of a batch after its `label_loss`; to be closed when it is no longer asked."""
    return family_of(student.model).image_losses(student.model)


def in_float32(value: Any) -> Any:
    """Nested lists, tuples and dicts with every float tensor in float32: losses are computed outside autocast."""
    if isinstance(value, torch.Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, dict):
        return {key: in_float32(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(in_float32(item) for item in value)
    return value
