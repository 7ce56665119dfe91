"""The stage `float`: the user's checkpoint as it is, or one that Ultralytics trains in float."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edgegd.data.view import ultralytics_yaml
from edgegd.detectors.architecture import is_architecture, require_plain_architecture
from edgegd.detectors.float_checkpoint import (
    knows_classes,
    locate_checkpoint,
    open_checkpoint,
)
from edgegd.detectors.float_training import train_float
from edgegd.detectors.model_size import require_size_of_description
from edgegd.detectors.shared_memory import require_shared_memory
from edgegd.pipeline.artifacts import DATA, FLOAT_MODEL
from edgegd.pipeline.as_recorded import require_as_recorded
from edgegd.pipeline.run_folder import TRAINING, RunFolder
from edgegd.pipeline.stage import Stage
from edgegd.pipeline.stored import stored_dataset
from edgegd.pipeline.weights import open_weights, require_channels_of, require_weights, weights_now
from edgegd.progress import Progress


def run_float(folder: RunFolder, progress: Progress) -> None:
    """Takes the user's checkpoint as it is, or trains one with Ultralytics where it does not know the classes yet."""
    section, dataset = folder.recipe.model, stored_dataset(folder)
    model, names = open_weights(folder), dataset.names
    require_channels_of(folder, model, dataset)
    require_weights(folder, model, names)
    if is_architecture(section.weights):
        weights = section.weights
    else:
        path = locate_checkpoint(section.weights)
        if knows_classes(model, names):
            folder.write(FLOAT_MODEL, path.read_bytes())
            return
        weights = str(path)
        require_plain_architecture(model.yaml, weights)
        require_size_of_description(model.yaml, weights)
    require_shared_memory(folder.recipe.train.workers, section.float.batch, section.imgsz)
    progress.note(f"training {weights} in float for {section.float.epochs} epochs with Ultralytics")
    data_yaml = ultralytics_yaml(dataset, folder.artifact("view"))
    with tempfile.TemporaryDirectory(dir=folder.path, prefix=TRAINING) as work:
        best = Path(work) / "best.pt"
        # Ultralytics trains on squares; in that of the longer side, images have the scale of the rectangle.
        train_float(
            weights,
            data_yaml,
            best,
            imgsz=max(section.size),
            settings=section.float,
            train=folder.recipe.train,
            work_folder=Path(work),
            progress=progress.update,
            note=progress.note,
            on_data=lambda split, loaded: require_as_recorded(folder, split, loaded),
        )
        open_checkpoint(best)
        folder.write(FLOAT_MODEL, best.read_bytes())


STAGE = Stage(
    "float",
    "the float checkpoint",
    (DATA,),
    (FLOAT_MODEL,),
    ("model.weights", "model.imgsz", "model.float", "train.device", "train.workers", "train.seed"),
    run_float,
    weights_now,
)
