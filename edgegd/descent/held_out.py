"""The loss of images that are not learned from."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from edgegd.descent.taken_back import taken_back
from edgegd.descent.training import Training
from edgegd.detectors.batches import EpochBatches
from edgegd.detectors.distillation import Distiller
from edgegd.detectors.student import Student
from edgegd.recipe.training import TrainSection


def mean_loss(
    student: Student,
    batches: EpochBatches,
    settings: TrainSection,
    distiller: Distiller | None,
    count: int | None = None,
) -> float:
    """The student's loss per image over the first `count` batches of epoch 1, all without it; nothing changes.

    It is the loss that is trained, fake quantization included. Raises ValueError without a batch.
    """
    with taken_back(student), torch.no_grad():
        return _mean(Training(student, settings, distiller), batches.epoch(1), count)


def _mean(training: Training, batches: Iterable[dict[str, object]], count: int | None) -> float:
    training.student.train()
    total, images = 0.0, 0
    for number, batch in enumerate(batches):
        if number == count:
            break
        prepared = training.prepared(batch)
        total += float(training.loss_of(prepared)[0]) * len(prepared["img"])
        images += len(prepared["img"])
    if not images:
        raise ValueError("no image to judge by")
    return total / images
