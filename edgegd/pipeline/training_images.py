"""The file training-images.json of a run folder: what the training did with each of its images, and which labels to
look at.

FP32 and the INT8 model run once on every training image. What they detect is kept of AT_A_TIME images, so memory grows
by the rows of the result alone, 2 KB an image. ObjectLab compares all images with each other, so with it FP32's
detections are kept too, at most MOST_DETECTIONS of an image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgegd.accuracy.found_boxes import found_boxes
from edgegd.accuracy.ground_truth import GroundTruth, boxes_in_pixels
from edgegd.accuracy.image_learning import last_losses, learning_kinds
from edgegd.accuracy.label_quality import label_quality, own_thresholds
from edgegd.accuracy.label_suspects import Suspicions, suspects
from edgegd.data.contents import ImageContent, current_boxes
from edgegd.errors import NoImagesError
from edgegd.foreign_text import one_line
from edgegd.pipeline.artifacts import DATA, DESCENT_IMAGES, PORTABLE, TRAINING_IMAGES, as_made
from edgegd.pipeline.image_losses import StoredLosses, stored_losses
from edgegd.pipeline.looked_images import (
    AT_A_TIME,
    HARDEST,
    LEAST_SUSPICION,
    MOST_DETECTIONS,
    OBJECTLAB,
    REFERENCE,
    SUPPORT,
    LookedAt,
)
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.pipeline.shipped import variant_to_ship
from edgegd.pipeline.stage import require_current
from edgegd.pipeline.stored import stored_contents, stored_dataset
from edgegd.progress import Progress
from edgegd.report.training_images import training_images_sentence
from edgegd.runtime.detector import Detections

HURT = 1.0
"""The damage of an image that lost one box for good (edgegd.accuracy.image_damage)."""
_MOST_LOSSES = 1_000_000  # numbers in the file: of 50,000 images 20 epochs
_SCHEMA = 1


def training_images(
    folder: RunFolder,
    progress: Progress,
    variant: str = "",
    conf: float = 0.25,
    most: int = 100,
    scores: str = SUPPORT,
) -> dict[str, Any]:
    """Looks at every training image of a run, and stores what it found.

    `variant` is the INT8 model (empty: the one to ship), `conf` the score threshold at which it is compared with FP32,
    `most` how many suspected label errors of each kind are listed, `scores` how labels are judged: by `support`
    (edgegd.accuracy.label_support) or by `objectlab` (edgegd.accuracy.label_quality).
    Raises MissingArtifactError where a file of the run, or an image's labels, are not as they were, and NoImagesError
    where images are not where they were.
    """
    variant = variant or variant_to_ship(folder)
    sources = _sources(variant)
    for artifact in sources:
        require_current(folder, artifact)
    truth, contents = _truth(folder)
    stored = stored_losses(folder, len(contents))
    looked = LookedAt(folder, variant, conf, most, keeps=scores == OBJECTLAB)
    for first in range(0, len(contents), AT_A_TIME):
        chunk = slice(first, first + AT_A_TIME)
        looked.at(_part(truth, chunk), contents[chunk], first, len(contents), progress)
    rows = _rows(looked.rows, stored)
    suspected = looked.suspects
    if scores == OBJECTLAB:
        suspicions = _by_objectlab(looked.kept, truth)
        suspected = suspects(suspicions, looked.kept, truth, LEAST_SUSPICION[scores], most)
        for row, one in zip(rows, suspicions, strict=True):
            row["suspect"] = round(one.image, 4)
    result: dict[str, Any] = {
        "schema": _SCHEMA,
        "title": "Training images and suspected labels",
        "made_of": {str(artifact): _hash(folder, artifact) for artifact in (*sources, DESCENT_IMAGES)},
        "model": variant,
        "reference": REFERENCE,
        "conf": conf,
        "scores": scores,
        "most": most,
        "names": list(truth.names),
        "epochs": len(rows[0]["losses"]),
        "epoch_numbers": [stored.epochs[at] for at in _shown_epochs(stored)],
        "not_recorded": stored.absent,
        "counts": dict(Counter(row["kind"] for row in rows)),
        "hurt": sum(row["hurt"] >= HURT for row in rows),
        "images": rows,
        "suspects": suspected,
        "hardest": _hardest_images(rows),
        "most_hurt": _most_hurt(rows),
        "hardest_labels": looked.hardest_labels,
    }
    result["sentence"] = training_images_sentence({**result, "images": len(rows)})
    folder.write_json(TRAINING_IMAGES, result)
    return result


def stored_training_images(folder: RunFolder) -> dict[str, Any] | None:
    """What was found last, None where nothing was, or of other files than the run has now."""
    if not folder.artifact(TRAINING_IMAGES).exists():
        return None
    with as_made(folder, TRAINING_IMAGES):
        result: dict[str, Any] = folder.read_json(TRAINING_IMAGES)
        now = {str(artifact): _hash(folder, artifact) for artifact in (*_sources(result["model"]), DESCENT_IMAGES)}
        return result if result["schema"] == _SCHEMA and result["made_of"] == now else None


def reported_training_images(folder: RunFolder) -> dict[str, Any] | None:
    """As stored_training_images without the rows of the images: what the report shows, however many there are."""
    result = stored_training_images(folder)
    if result is None:
        return None
    return {**result, "images": len(result["images"])}


def _sources(variant: str) -> tuple[Any, ...]:
    return DATA, PORTABLE[REFERENCE], PORTABLE[variant]


def _hash(folder: RunFolder, artifact: str) -> str:
    """The hash of an artifact, empty where there is none."""
    path = folder.artifact(artifact)
    return sha256_of(path) if path.exists() else ""


def _truth(folder: RunFolder) -> tuple[GroundTruth, list[ImageContent]]:
    """The labels of the training images as stage `data` recorded them, in pixels, and what it recorded."""
    dataset, recorded = stored_dataset(folder), stored_contents(folder)
    absent = [image for image in dataset.train_images if not image.is_file()]
    if absent:
        raise NoImagesError(
            f"{len(absent)} of the run's {len(dataset.train_images)} training images are not where they were.",
            expected=one_line(absent[0]),
            found="no file there",
            mend="put the data set back, or run the recipe again with the data.path of today",
        )
    contents = [recorded[image] for image in dataset.train_images]
    boxes, class_ids = [], []
    for image, content in zip(dataset.train_images, contents, strict=True):
        rows = current_boxes(image, content, len(dataset.names))
        boxes.append(boxes_in_pixels(rows, (content.height, content.width)))
        class_ids.append(rows[:, 0].astype(np.int64))
    return GroundTruth(dataset.train_images, tuple(boxes), tuple(class_ids), dataset.names), contents


def _by_objectlab(detections: Sequence[Detections], truth: GroundTruth) -> list[Suspicions]:
    thresholds = own_thresholds(found_boxes(detections, truth, MOST_DETECTIONS))
    return [one.suspicions() for one in label_quality(detections, truth, thresholds)]


def _shown_epochs(stored: StoredLosses) -> list[int]:
    """The rows of the record that are written out: all, or of many images as many as fit, the last among them."""
    count, images = stored.losses.shape
    shown = min(count, max(2, _MOST_LOSSES // max(images, 1)))
    return np.unique(np.linspace(0, count - 1, shown).round().astype(int)).tolist() if count else []


def _rows(looked: Sequence[dict[str, Any]], stored: StoredLosses) -> list[dict[str, Any]]:
    kinds, last = learning_kinds(stored.losses), last_losses(stored.losses)
    shown = stored.losses[_shown_epochs(stored)]
    return [
        {
            **row,
            "losses": [_number(value) for value in shown[:, at].tolist()],
            "last_loss": _number(float(last[at])),
            "kind": kinds[at],
        }
        for at, row in enumerate(looked)
    ]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 4)


def _hardest_images(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """By the last losses, and where none were recorded by FP32's error."""
    order = sorted(rows, key=lambda row: (-(row["last_loss"] or 0.0), -row["error"]["reference"]))
    return [
        {key: row[key] for key in ("image", "kind", "labels", "suspect")}
        | {"loss": row["last_loss"], "error": row["error"]["reference"]}
        for row in order[:HARDEST]
    ]


def _most_hurt(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    order = sorted((row for row in rows if row["hurt"] > 0), key=lambda row: -row["hurt"])
    return [{key: row[key] for key in ("image", "labels", "hurt", "error")} for row in order[:HARDEST]]


def _part(truth: GroundTruth, chunk: slice) -> GroundTruth:
    return GroundTruth(truth.image_paths[chunk], truth.boxes[chunk], truth.class_ids[chunk], truth.names)
