"""The file detections.safetensors of a run folder: what each of its models detected, and the labels, as measured.

It holds what accuracy.json was made from, so that mAP of any choice of these images can be taken later, without a model
and without the images (edgegd.accuracy.measured).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from edgegd.accuracy.evaluate import AccuracyResult
from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.accuracy.measured import MeasuredImages
from edgegd.bounded_read import read_bounded
from edgegd.data.contents import current_boxes
from edgegd.errors import MissingArtifactError, RecipeError, UnreadableImageError
from edgegd.foreign_text import one_line
from edgegd.json_files import load_json
from edgegd.limits import IMAGE_BYTES
from edgegd.pipeline.artifacts import DATA, DETECTIONS, as_made
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stage import require_current
from edgegd.pipeline.stored import stored_contents
from edgegd.variants import VARIANTS

_KEY, _SCHEMA = "edgegd", 1
_HASH_DIGITS = 16


def store_measured(folder: RunFolder, truth: GroundTruth, results: Mapping[str, AccuracyResult]) -> None:
    """Writes detections.safetensors from the results of the run's models on the images of `truth`."""
    settings, contents = folder.recipe.accuracy, stored_contents(folder)
    height, width = folder.recipe.model.size
    sizes = [(contents[image].height, contents[image].width) for image in truth.image_paths]
    measured = MeasuredImages(
        truth,
        np.array(sizes, np.int32).reshape(-1, 2),
        tuple(map(hash_of_image, truth.image_paths)),
        {variant: result.detections for variant, result in results.items()},
        {variant: (height, width) for variant in results},
        settings.conf,
        settings.iou,
        settings.max_det,
    )
    # One entry of metadata: safetensors writes several in any order, and a stage makes equal files.
    metadata = {_KEY: json.dumps({"schema": _SCHEMA, **measured.to_dict()})}
    folder.write(DETECTIONS, safetensors.numpy.save(measured.to_arrays(), metadata))


def stored_measured(folder: RunFolder) -> MeasuredImages:
    """What the run's stage `accuracy` measured; MissingArtifactError where that is not of its present files."""
    require_current(folder, DETECTIONS)
    with as_made(folder, DETECTIONS):
        try:
            with safe_open(folder.artifact(DETECTIONS), framework="np") as file:
                fields = load_json((file.metadata() or {})[_KEY])
                arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        if fields["schema"] != _SCHEMA:
            raise ValueError(f"schema {fields['schema']}")
        measured = MeasuredImages.from_arrays(arrays, fields)
        if not set(VARIANTS) <= set(measured.detections):
            raise ValueError(f"detections of {', '.join(map(one_line, measured.detections))} alone")
        return measured


def require_measured_score(measured: MeasuredImages, conf: float) -> None:
    """Raises RecipeError for a score threshold below which no detections were kept."""
    if conf < measured.conf:
        raise RecipeError(
            f"Detections with scores up to {measured.conf:g} were not kept, so {conf:g} is no threshold to start from.",
            expected=f"a threshold from {measured.conf:g} to 1",
            found=f"{conf:g}",
            mend="give a higher --conf, or measure with a lower accuracy.conf",
        )


def require_unchanged(folder: RunFolder, measured: MeasuredImages) -> int:
    """Compares the images that are still there, and their labels, with those that were measured.

    Returns how many images are not there any more: a run folder may be judged on another machine. Raises
    MissingArtifactError for an image or label file that is there and was changed.
    """
    contents = stored_contents(folder) if folder.artifact(DATA).exists() else {}
    absent = 0
    for path, sha256 in zip(measured.truth.image_paths, measured.sha256, strict=True):
        if not path.is_file():
            absent += 1
            continue
        if hash_of_image(path) != sha256:
            raise MissingArtifactError(
                f"{one_line(path)} is not the image that was measured.",
                expected=f"a file of hash {sha256}",
                found="another content",
                mend="run the recipe again (edgegd run ...), which measures what is there now",
            )
        if path in contents:
            current_boxes(path, contents[path], len(measured.truth.names))
    return absent


def hash_of_image(path: Path) -> str:
    """The first digits of the SHA-256 of an image's file; UnreadableImageError where it is too long."""
    content = read_bounded(path, IMAGE_BYTES)
    if content is None:
        raise UnreadableImageError(f"{one_line(path)} has more than {IMAGE_BYTES >> 20} MiB.")
    return hashlib.sha256(content).hexdigest()[:_HASH_DIGITS]
