"""The training loss of every family: its own criterion, weighted for the head that is deployed."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch.utils._pytree import tree_leaves
from ultralytics.utils import IterableSimpleNamespace

from edgegd.detectors.families.image_losses import ImageLosses, batch_of, rows_of
from edgegd.detectors.families.registry import family_of
from edgegd.detectors.loss_terms import LossTerm, Parts, joined
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
    return {**batch_of(batch, labelled), "labelled": None}, rows_of(predictions, labelled.to(batch["img"].device))


def some_images(batch: dict[str, Any], first: int, end: int) -> dict[str, Any]:
    """The images of a batch from number `first` (from 0) up to `end`, that one excluded, with their boxes."""
    own = (batch["batch_idx"] >= first) & (batch["batch_idx"] < end)
    kept = {**batch, "img": batch["img"][first:end], "batch_idx": batch["batch_idx"][own] - first}
    kept |= {key: batch[key][own] for key in ("cls", "bboxes")}
    of_images = ("labelled", "im_file", "mixed", "ori_shape", "resized_shape")
    return kept | {key: batch[key][first:end] for key in of_images if batch.get(key) is not None}


def first_images(batch: dict[str, Any], count: int) -> dict[str, Any]:
    """The first images of a batch, with their boxes."""
    return some_images(batch, 0, count)


def in_parts(batch: dict[str, Any], parts: int) -> list[dict[str, Any]]:
    """A batch in so many parts of nearly equal size, in order; of fewer images as many parts as there are."""
    images = len(batch["img"])
    parts = min(parts, images)
    if parts < 2:
        return [batch]
    borders = [images * number // parts for number in range(parts + 1)]
    return [some_images(batch, first, end) for first, end in itertools.pairwise(borders)]


def label_terms(student: Student, batch: dict[str, Any], predictions: Any) -> list[LossTerm]:
    """The criterion's loss per image in summands, of the part of the images that has labels.

    Where no image has any they are all zero, with a gradient of zero for everything that they would have trained.
    """
    model = student.model
    if seen := labelled_part(batch, predictions):
        return family_of(model).label_terms(model, *seen)
    branches = branch_weights(model)
    trained = [predictions[branch] for branch in branches] if branches else predictions
    leaves = [leaf for leaf in tree_leaves(trained) if isinstance(leaf, torch.Tensor) and leaf.requires_grad]
    nothing = torch.stack([leaf.sum() for leaf in leaves]).sum() * 0.0 if leaves else batch["img"].new_zeros(())
    return [LossTerm(nothing, {}, 0.0)] * max(1, len(branches))


def label_loss(student: Student, batch: dict[str, Any], predictions: Any) -> tuple[torch.Tensor, Parts]:
    """The criterion's loss as a scalar per image of a whole batch, and its detached parts by name."""
    return joined(label_terms(student, batch, predictions), None)


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
