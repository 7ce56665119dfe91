"""The model that a recipe names: a checkpoint, or an architecture to be trained."""

from __future__ import annotations

from typing import Any

from torch import nn

from edgegd.data.dataset import Dataset
from edgegd.detectors.architecture import find_architecture, is_architecture
from edgegd.detectors.deployment import detection_head
from edgegd.detectors.float_checkpoint import (
    locate_checkpoint,
    open_architecture,
    open_checkpoint,
    require_channels,
    require_classes,
    require_float_training,
    require_stride,
)
from edgegd.detectors.own_parameters import require_own_parameters
from edgegd.errors import CheckpointNotFoundError
from edgegd.pipeline.run_folder import RunFolder, sha256_of


def open_weights(folder: RunFolder) -> nn.Module:
    """The model that `model.weights` names, after checking that it detects boxes and takes `model.imgsz`.

    Raises the errors of locate_checkpoint, open_checkpoint, open_architecture, require_stride, detection_head and
    require_own_parameters.
    """
    section = folder.recipe.model
    weights = section.weights
    model = open_architecture(weights) if is_architecture(weights) else open_checkpoint(locate_checkpoint(weights))
    require_stride(model, section.size)
    detection_head(model)
    require_own_parameters(model, weights)
    return model


def require_channels_of(folder: RunFolder, model: nn.Module, dataset: Dataset) -> None:
    """ChannelCountError for a checkpoint of other channels; an architecture is trained with the data set's."""
    weights = folder.recipe.model.weights
    if not is_architecture(weights):
        require_channels(model, dataset.channels, weights)


def weights_now(folder: RunFolder) -> Any:
    weights = folder.recipe.model.weights
    if not is_architecture(weights):
        return sha256_of(locate_checkpoint(weights))
    return sha256_of(find_architecture(weights))


def require_weights(folder: RunFolder, model: nn.Module, names: tuple[str, ...] | None = None) -> None:
    """UnsupportedModelError where model.float is to train a model that it cannot. Where nothing is trained in float:
    CheckpointNotFoundError for an architecture, ClassCountError for a checkpoint of other classes than `names`."""
    section = folder.recipe.model
    if section.float.epochs > 0:
        require_float_training(model, section.weights, section.float.epochs)
        return
    if is_architecture(section.weights):
        raise CheckpointNotFoundError(
            f"{section.weights} is an architecture without weights, and model.float.epochs is 0.",
            expected="a checkpoint (.pt), or epochs of float training",
            found="neither",
            mend="set model.float.epochs, or set model.weights to a checkpoint",
        )
    if names is not None:
        require_classes(model, names, section.weights)
