"""The file descent-images.safetensors of a run folder, as the analyses read it: without torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from edgegd.pipeline.artifacts import DESCENT_IMAGES, as_made
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stage import require_current


@dataclass(frozen=True)
class StoredLosses:
    """`losses` (R, images) float32 of the training images in their order, NaN where one was not seen, and the `epochs`
    of the rows. `absent` says why there are none; empty where there are."""

    epochs: tuple[int, ...]
    losses: NDArray[np.float32]
    absent: str = ""


def stored_losses(folder: RunFolder, images: int) -> StoredLosses:
    """What QAT recorded of so many training images; MissingArtifactError for a file that QAT did not leave so."""
    nothing = np.zeros((0, images), np.float32)
    if not folder.artifact(DESCENT_IMAGES).exists():
        return StoredLosses((), nothing, "the run is of an earlier version, which did not record them")
    require_current(folder, DESCENT_IMAGES)
    with as_made(folder, DESCENT_IMAGES):
        try:
            with safe_open(folder.artifact(DESCENT_IMAGES), framework="np") as file:
                epochs, losses = file.get_tensor("epochs"), file.get_tensor("losses")
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        if losses.shape != (len(epochs), images) or losses.dtype != np.float32:
            raise ValueError(f"losses of {losses.shape}, not of {images} images")
        if len(epochs):
            return StoredLosses(tuple(epochs.tolist()), losses)
    train = folder.recipe.train
    without_labels = train.distill.asks and not train.distill.labels
    why = "QAT used no labels (train.distill.labels)" if without_labels else "every image was part of a mosaic"
    return StoredLosses((), nothing, why)
