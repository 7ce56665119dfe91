"""The stages before quantization: data, float."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from ultralytics.nn.tasks import DetectionModel

from edgegd.data.check import check_contents
from edgegd.data.dataset import Dataset, open_dataset
from edgegd.data.labels import label_path
from edgegd.data.view import ultralytics_yaml
from edgegd.descent.architecture import find_architecture, is_architecture, require_plain_architecture
from edgegd.descent.float_checkpoint import (
    knows_classes,
    locate_checkpoint,
    open_architecture,
    open_checkpoint,
    require_channels,
    require_classes,
    require_stride,
)
from edgegd.descent.float_training import train_float
from edgegd.descent.model_size import require_size_of_description
from edgegd.descent.own_parameters import require_own_parameters
from edgegd.descent.shared_memory import require_shared_memory
from edgegd.errors import CheckpointNotFoundError
from edgegd.foreign_text import one_line
from edgegd.pipeline.as_recorded import require_as_recorded
from edgegd.pipeline.early_checks import require_possible
from edgegd.pipeline.models import stored_dataset
from edgegd.pipeline.run_folder import TRAINING, RunFolder, sha256_of
from edgegd.pipeline.stage import Progress, Stage
from edgegd.quant.folding import detection_head


def _data_now(folder: RunFolder) -> str:
    """The files of the data set as they are now; empty before the first run, which may have to draw or fetch them."""
    return _files_of(open_dataset(folder.recipe.data)) if folder.artifact("data.json").exists() else ""


def _files_of(dataset: Dataset) -> str:
    """Hash of the names, sizes and modification times of all images and labels."""
    digest = hashlib.sha256()
    for image in dataset.images:
        for file in (image, label_path(image)):
            stat = os.stat(file) if file.exists() else None
            digest.update(f"{file} {(stat.st_size, stat.st_mtime_ns) if stat else None}\n".encode())
    return digest.hexdigest()


def run_data(folder: RunFolder, progress: Progress) -> None:
    """Opens (draws, downloads) the data set, checks every image and label, and records what is there.

    A checkpoint that cannot be used is refused first: that takes a second, images take minutes.
    """
    section = folder.recipe.data
    model = open_weights(folder)
    _require_weights(folder, model)
    require_possible(folder, model)
    dataset = open_dataset(section, lambda done, total: progress.update(done, total, "drawing or fetching images"))
    _require_channels(folder, model, dataset)
    _require_weights(folder, model, dataset.names)
    check, contents = check_contents(
        dataset, section.unlabelled, lambda done, total: progress.update(done, total, "checking images and labels")
    )
    progress.note(
        f"{check.train_images} training images with {check.train_boxes} boxes, "
        f"{check.val_images} validation images with {check.val_boxes}; "
        f"{one_line(', '.join(map(one_line, dataset.names)))}"
    )
    if section.unlabelled_images:
        progress.note(
            f"{check.unlabelled_images} unlabelled images that are no training images: for calibration, and "
            "for training where it learns from the float model"
        )
    folder.write_json(
        "data.json",
        {
            "root": str(dataset.root),
            "yaml_path": str(dataset.yaml_path),
            "names": dataset.names,
            "channels": dataset.channels,
            "check": dataclasses.asdict(check),
            "files": _files_of(dataset),
            "train_images": [str(path) for path in dataset.train_images],
            "val_images": [str(path) for path in dataset.val_images],
            "unlabelled_images": [str(path) for path in dataset.unlabelled_images],
            "contents": [dataclasses.astuple(content) for content in contents],
        },
    )


def _require_channels(folder: RunFolder, model: DetectionModel, dataset: Dataset) -> None:
    """ChannelCountError for a checkpoint of other channels; an architecture is trained with the data set's."""
    weights = folder.recipe.model.weights
    if not is_architecture(weights):
        require_channels(model, dataset.channels, weights)


def _weights_now(folder: RunFolder) -> Any:
    weights = folder.recipe.model.weights
    if not is_architecture(weights):
        return sha256_of(locate_checkpoint(weights))
    return sha256_of(find_architecture(weights))


def open_weights(folder: RunFolder) -> DetectionModel:
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


def _require_weights(folder: RunFolder, model: DetectionModel, names: tuple[str, ...] | None = None) -> None:
    """Where nothing is trained in float: CheckpointNotFoundError for an architecture, ClassCountError for a checkpoint
    of other classes than `names`."""
    section = folder.recipe.model
    if section.float.epochs > 0:
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


def run_float(folder: RunFolder, progress: Progress) -> None:
    """Takes the user's checkpoint as it is, or trains one with Ultralytics where it does not know the classes yet."""
    section, dataset = folder.recipe.model, stored_dataset(folder)
    model, names = open_weights(folder), dataset.names
    _require_channels(folder, model, dataset)
    _require_weights(folder, model, names)
    if is_architecture(section.weights):
        weights = section.weights
    else:
        path = locate_checkpoint(section.weights)
        if knows_classes(model, names):
            folder.write("float.pt", path.read_bytes())
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
        folder.write("float.pt", best.read_bytes())


DATA = Stage("data", "open and check the data set", {}, ("data.json",), ("data",), run_data, _data_now)
FLOAT = Stage(
    "float",
    "the float checkpoint",
    {"data.json": "data"},
    ("float.pt",),
    ("model.weights", "model.imgsz", "model.float", "train.device", "train.workers", "train.seed"),
    run_float,
    _weights_now,
)
