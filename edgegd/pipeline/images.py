"""The file images.json of a run folder: what quantization did to every image, and the tensors behind the worst.

The comparison is made from what stage `accuracy` kept (edgegd.pipeline.measured), without any model or image. For the
worst images the run's files run once more, with their tensors laid open, and pictures are drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgegd.accuracy.error_kinds import FOREGROUND_IOU
from edgegd.accuracy.image_changes import changes_between
from edgegd.accuracy.image_comparison import above, compare_images
from edgegd.accuracy.measured import MeasuredImages
from edgegd.errors import UnreadableImageError
from edgegd.pipeline.artifacts import DETECTIONS, IMAGE_PICTURES, IMAGES, as_made
from edgegd.pipeline.image_tensors import InnerTensors
from edgegd.pipeline.measured import hash_of_image, require_measured_score, stored_measured
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.pipeline.shipped import variant_to_ship
from edgegd.pipeline.stored import stored_dataset
from edgegd.progress import Progress
from edgegd.report.image_picture import DrawnImage, draw_changes
from edgegd.report.images import images_blocks, images_sentence
from edgegd.report.ship import MODEL_TITLES
from edgegd.runtime.draw import drawable, encoded
from edgegd.runtime.images import read_image
from edgegd.safe_outputs import own_folder

REFERENCE = "fp32"
WORST = 16
_ORDINARY = 8  # further images that say what is typical of a tensor
_PICTURE = f"{IMAGE_PICTURES}/{{:06}}.jpg"
_SCHEMA = 1


def images(
    folder: RunFolder, progress: Progress, variant: str = "", conf: float = 0.25, worst: int = WORST
) -> dict[str, Any]:
    """Compares FP32 with a run's model (ptq or qat; empty: the one to ship) image by image, and stores what it found.

    `conf` is the score threshold; the tensors of the `worst` images are looked at, and they are drawn. An image that is
    not there any more, or is another, is named under `left_out`. Raises MissingArtifactError where mAP or files are not
    of the run as it is now, and RecipeError for a `conf` below which no detections were kept.
    """
    measured, variant = stored_measured(folder), variant or variant_to_ship(folder)
    require_measured_score(measured, conf)
    compared = compare_images(
        measured, variant, REFERENCE, conf, lambda done, total: progress.update(done, total, "comparing images")
    )
    chosen, ordinary = _chosen([row["damage"] for row in compared["images"]], worst)
    absent = _absent(measured, (*chosen, *ordinary))
    shown = [index for index in chosen if index not in absent]
    pictures = {index: _PICTURE.format(index) for index in shown}
    for index, row in enumerate(compared["images"]):
        row["picture"] = pictures.get(index)
    result: dict[str, Any] = {
        "schema": _SCHEMA,
        "title": "Images",
        "detections": sha256_of(folder.artifact(DETECTIONS)),
        "model": variant,
        "reference": REFERENCE,
        "conf": conf,
        "iou": FOREGROUND_IOU,
        "names": list(measured.truth.names),
        **compared,
        "most_damaged": [compared["images"][index]["image"] for index in chosen],
        "worst": [],
        "tensors": [],
        "typical_images": 0,
        "median_own_sqnr_db": None,
        "left_out": [
            {"image": compared["images"][index]["image"], "reason": absent[index]}
            for index in chosen
            if index in absent
        ],
    }
    if shown:
        others = [index for index in ordinary if index not in absent]
        paths = [[measured.truth.image_paths[index] for index in of] for of in (shown, others)]
        result |= InnerTensors(folder, variant).look(paths[0], paths[1], progress)
    result["sentence"] = images_sentence(result)
    _draw(folder, measured, variant, conf, pictures)
    folder.write_json(IMAGES, result)
    _remove_others(folder, pictures.values())
    return result


def stored_images(folder: RunFolder) -> dict[str, Any] | None:
    """What was found last, None where nothing was, or from other detections than the run has now."""
    if not folder.artifact(IMAGES).exists() or not folder.artifact(DETECTIONS).exists():
        return None
    with as_made(folder, IMAGES):
        result: dict[str, Any] = folder.read_json(IMAGES)
        if result["schema"] != _SCHEMA or result["detections"] != sha256_of(folder.artifact(DETECTIONS)):
            return None
        return result


def reported_images(folder: RunFolder) -> dict[str, Any] | None:
    """As stored_images, with the rows of the most damaged images alone: that is what the report shows."""
    result = stored_images(folder)
    if result is None:
        return None
    with as_made(folder, IMAGES):
        shown = set(result["most_damaged"])
        reported = {**result, "images": [row for row in result["images"] if row["image"] in shown]}
        images_blocks(reported)
        return reported


def _chosen(damages: Sequence[float], worst: int) -> tuple[list[int], list[int]]:
    """The most damaged images, the worst first, and ordinary ones: evenly spaced among all others by damage."""
    order = np.argsort(-np.asarray(damages), kind="stable").tolist()
    chosen = [index for index in order[:worst] if damages[index] > 0]
    others = order[len(chosen) :]
    places = np.linspace(0, len(others) - 1, _ORDINARY).round().astype(int).tolist() if others else []
    return chosen, [others[place] for place in dict.fromkeys(places)]


def _absent(measured: MeasuredImages, indices: Sequence[int]) -> dict[int, str]:
    """Which of these images cannot be looked at now, and why."""
    reasons = {index: _why_not(measured.truth.image_paths[index], measured.sha256[index]) for index in indices}
    return {index: reason for index, reason in reasons.items() if reason}


def _why_not(path: Path, sha256: str) -> str:
    """Why an image cannot be looked at; empty where it can."""
    if not path.is_file():
        return "the file is not there any more"
    try:
        return "" if hash_of_image(path) == sha256 else "the file has another content than when it was measured"
    except (UnreadableImageError, OSError) as error:
        return str(error)


def _draw(folder: RunFolder, measured: MeasuredImages, variant: str, conf: float, pictures: Mapping[int, str]) -> None:
    """Draws the images with these indices into the artifacts of these names."""
    if not pictures:
        return
    own_folder(folder.path / IMAGE_PICTURES)
    channels = stored_dataset(folder).channels
    for index, name in pictures.items():
        image = read_image(measured.truth.image_paths[index], channels)
        both = [above(measured.detections[name][index], measured.conf) for name in (REFERENCE, variant)]
        drawn = DrawnImage(measured.truth.boxes[index], both[0], both[1], changes_between(both[0], both[1], conf))
        picture = draw_changes(drawable(image), drawn, MODEL_TITLES[variant])
        folder.write(name, encoded(picture, ".jpg"))


def _remove_others(folder: RunFolder, names: Iterable[str]) -> None:
    """Removes the pictures of an earlier call."""
    current = {folder.artifact(name) for name in names}
    for old in (folder.path / IMAGE_PICTURES).glob("[0-9]" * 6 + ".jpg"):
        if old not in current:
            old.unlink()
