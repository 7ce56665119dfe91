"""The stage `data`: the data set is opened, and every image and label checked."""

from __future__ import annotations

import dataclasses

from edgegd.data.check import DataCheck, check_contents
from edgegd.data.dataset import Dataset, open_dataset
from edgegd.data.files import hash_of_files
from edgegd.foreign_text import one_line
from edgegd.pipeline.artifacts import DATA
from edgegd.pipeline.early_checks import require_possible
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stage import Stage
from edgegd.pipeline.weights import open_weights, require_channels_of, require_weights
from edgegd.progress import Progress


def run_data(folder: RunFolder, progress: Progress) -> None:
    """Opens (draws, downloads) the data set, checks every image and label, and records what is there.

    A checkpoint that cannot be used is refused first: that takes a second, images take minutes.
    """
    section = folder.recipe.data
    model = open_weights(folder)
    require_weights(folder, model)
    require_possible(folder, model)
    dataset = open_dataset(section, lambda done, total: progress.update(done, total, "drawing or fetching images"))
    require_channels_of(folder, model, dataset)
    require_weights(folder, model, dataset.names)
    check, contents = check_contents(
        dataset, section.unlabelled, lambda done, total: progress.update(done, total, "checking images and labels")
    )
    progress.note(
        f"{check.train_images} training images with {check.train_boxes} boxes, "
        f"{check.val_images} validation images with {check.val_boxes}; "
        f"{one_line(', '.join(map(one_line, dataset.names)))}"
    )
    progress.note(_selection(dataset, check))
    if section.unlabelled_images:
        progress.note(
            f"{check.unlabelled_images} unlabelled images that are no training images: for calibration, and "
            "for training where it learns from the float model"
        )
    folder.write_json(
        DATA,
        {
            "root": str(dataset.root),
            "yaml_path": str(dataset.yaml_path),
            "names": dataset.names,
            "channels": dataset.channels,
            "check": dataclasses.asdict(check),
            "files": hash_of_files(dataset),
            "train_images": [str(path) for path in dataset.train_images],
            "val_images": [str(path) for path in dataset.val_images],
            "unlabelled_images": [str(path) for path in dataset.unlabelled_images],
            "test_images": [str(path) for path in dataset.test_images],
            "held_out_images": [str(path) for path in dataset.held_out_images],
            "contents": [dataclasses.astuple(content) for content in contents],
        },
    )


def _selection(dataset: Dataset, check: DataCheck) -> str:
    """Which images choose the epoch, and which report."""
    if dataset.test_images:
        counted = f"{check.test_images} test images with {check.test_boxes} boxes"
        return f"the best epoch is chosen on the validation images; everything is reported on {counted}"
    if dataset.held_out_images:
        counted = f"{check.held_out_images} training images with {check.held_out_boxes} boxes, held out"
        return f"the best epoch is chosen on {counted}; everything is reported on the validation images"
    return "the best epoch is chosen on the validation images, on which everything is reported as well"


def _data_now(folder: RunFolder) -> str:
    """The files of the data set as they are now; empty before the first run, which may have to draw or fetch them."""
    return hash_of_files(open_dataset(folder.recipe.data)) if folder.artifact(DATA).exists() else ""


STAGE = Stage("data", "open and check the data set", (), (DATA,), ("data",), run_data, _data_now)
