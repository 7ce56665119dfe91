"""The file training-images.json of a run folder: what the training did with each of its images, and which labels to
look at.

FP32 and the INT8 model run once on every training image. Their detections, at most MOST_DETECTIONS of an image, are
what is kept in memory: 5 KB for an image and both models at most.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgegd.accuracy.found_boxes import found_boxes
from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.accuracy.image_comparison import compare_images
from edgegd.accuracy.image_learning import last_losses, learning_kinds
from edgegd.accuracy.label_quality import label_quality, own_thresholds
from edgegd.accuracy.label_support import label_support
from edgegd.accuracy.label_suspects import BADLY_PLACED, KINDS, OVERLOOKED, SWAPPED, Suspicions, suspects
from edgegd.accuracy.measured import MeasuredImages
from edgegd.data.contents import ImageContent, current_boxes
from edgegd.errors import MissingArtifactError, NoImagesError
from edgegd.foreign_text import one_line
from edgegd.pipeline.artifacts import DATA, DESCENT_IMAGES, PORTABLE, TRAINING_IMAGES, as_made
from edgegd.pipeline.image_losses import StoredLosses, stored_losses
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.pipeline.shipped import variant_to_ship
from edgegd.pipeline.stage import require_current
from edgegd.pipeline.stored import stored_contents, stored_dataset
from edgegd.progress import Progress
from edgegd.report.training_images import training_images_sentence
from edgegd.runtime.detector import Detections, Detector
from edgegd.runtime.images import read_image
from edgegd.verify.exact_session import load_exact

REFERENCE = "fp32"
SUPPORT, OBJECTLAB = SCORES = ("support", "objectlab")
LEAST_SCORE, MOST_DETECTIONS = 0.05, 100
LEAST_SUSPICION = {
    SUPPORT: {OVERLOOKED: 0.5, BADLY_PLACED: 0.15, SWAPPED: 0.15},
    OBJECTLAB: dict.fromkeys(KINDS, 0.5),
}
"""From which a suspect is listed: on planted faults half to nearly all of what is listed was one (docs/labels.md)."""
HURT = 1.0
"""The damage of an image that lost one box for good (edgegd.accuracy.image_damage)."""
_HARDEST = 50
_MOST_LOSSES = 1_000_000  # numbers in the file: of 50,000 images 20 epochs
_THREADS = 2
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
    detections = _detect(folder, truth, contents, variant, progress)
    supports = [
        label_support(found, boxes, ids)
        for found, boxes, ids in zip(detections[REFERENCE], truth.boxes, truth.class_ids, strict=True)
    ]
    suspicions = [one.suspicions for one in supports]
    if scores == OBJECTLAB:
        suspicions = _by_objectlab(detections[REFERENCE], truth)
    height, width = folder.recipe.model.size
    measured = MeasuredImages(
        truth,
        np.array([(one.height, one.width) for one in contents], np.int32),
        ("",) * len(contents),
        detections,
        {name: (height, width) for name in detections},
        LEAST_SCORE,
        folder.recipe.accuracy.iou,
        MOST_DETECTIONS,
    )
    compared = compare_images(
        measured, variant, REFERENCE, conf, lambda done, total: progress.update(done, total, "comparing images")
    )
    rows = _rows(compared["images"], stored, suspicions)
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
        "suspects": suspects(suspicions, detections[REFERENCE], truth, LEAST_SUSPICION[scores], most),
        "hardest": _hardest_images(rows),
        "most_hurt": _most_hurt(rows),
        "hardest_labels": _hardest_labels(truth, [one.own for one in supports]),
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
        side = np.array([content.width, content.height], np.float64)
        centers, halves = rows[:, 1:3] * side, rows[:, 3:5] * side / 2
        boxes.append(np.concatenate([centers - halves, centers + halves], axis=1))
        class_ids.append(rows[:, 0].astype(np.int64))
    return GroundTruth(dataset.train_images, tuple(boxes), tuple(class_ids), dataset.names), contents


def _detect(
    folder: RunFolder, truth: GroundTruth, contents: Sequence[ImageContent], variant: str, progress: Progress
) -> dict[str, tuple[Detections, ...]]:
    """What FP32 and the INT8 model detect in exact sessions, each image read once."""
    found: dict[str, list[Detections]] = {REFERENCE: [], variant: []}
    detectors = {name: _detector(folder, name) for name in found}
    channels = next(iter(detectors.values())).contract.preprocessing.image_channels
    for done, (path, content) in enumerate(zip(truth.image_paths, contents, strict=True)):
        image = read_image(path, channels)
        if image.shape[:2] != (content.height, content.width):
            raise MissingArtifactError(
                f"{one_line(path)} is not the image that stage `data` read.",
                expected=f"{content.height} x {content.width} (height, width)",
                found=" x ".join(map(str, image.shape[:2])),
                mend="run the recipe again (edgegd run ...)",
            )
        for name, detector in detectors.items():
            found[name].append(detector(image))
        progress.update(done + 1, len(contents), f"FP32 and {variant} on training images")
    return {name: tuple(of) for name, of in found.items()}


def _detector(folder: RunFolder, name: str) -> Detector:
    path = folder.require(PORTABLE[name])
    return Detector(
        path,
        conf=LEAST_SCORE,
        iou=folder.recipe.accuracy.iou,
        max_det=MOST_DETECTIONS,
        multi_label=True,
        clip=False,
        session=load_exact(path, threads=_THREADS),
    )


def _by_objectlab(detections: Sequence[Detections], truth: GroundTruth) -> list[Suspicions]:
    thresholds = own_thresholds(found_boxes(detections, truth, MOST_DETECTIONS))
    return [one.suspicions() for one in label_quality(detections, truth, thresholds)]


def _shown_epochs(stored: StoredLosses) -> list[int]:
    """The rows of the record that are written out: all, or of many images as many as fit, the last among them."""
    count, images = stored.losses.shape
    shown = min(count, max(2, _MOST_LOSSES // max(images, 1)))
    return np.unique(np.linspace(0, count - 1, shown).round().astype(int)).tolist() if count else []


def _rows(
    compared: Sequence[dict[str, Any]], stored: StoredLosses, suspicions: Sequence[Suspicions]
) -> list[dict[str, Any]]:
    kinds, last = learning_kinds(stored.losses), last_losses(stored.losses)
    shown = stored.losses[_shown_epochs(stored)]
    return [
        {
            "image": row["image"],
            "size": row["size"],
            "labels": row["labels"],
            "classes": row["classes"],
            "losses": [_number(value) for value in shown[:, at].tolist()],
            "last_loss": _number(float(last[at])),
            "kind": kinds[at],
            "hurt": row["damage"],
            "error": row["loss"],
            "suspect": round(suspicions[at].image, 4),
        }
        for at, row in enumerate(compared)
    ]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 4)


def _hardest_images(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """By the last losses, and where none were recorded by FP32's error."""
    order = sorted(rows, key=lambda row: (-(row["last_loss"] or 0.0), -row["error"]["reference"]))
    return [
        {key: row[key] for key in ("image", "kind", "labels", "suspect")}
        | {"loss": row["last_loss"], "error": row["error"]["reference"]}
        for row in order[:_HARDEST]
    ]


def _most_hurt(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    order = sorted((row for row in rows if row["hurt"] > 0), key=lambda row: -row["hurt"])
    return [{key: row[key] for key in ("image", "labels", "hurt", "error")} for row in order[:_HARDEST]]


def _hardest_labels(truth: GroundTruth, support: Sequence[Any]) -> list[dict[str, Any]]:
    """The labels that FP32 supports least."""
    labels = itertools.chain.from_iterable(
        ((float(value), image, label) for label, value in enumerate(of)) for image, of in enumerate(support)
    )
    return [
        {
            "image": str(truth.image_paths[image]),
            "box": [round(float(side), 1) for side in truth.boxes[image][label]],
            "class_id": int(truth.class_ids[image][label]),
            "support": round(value, 4),
        }
        for value, image, label in sorted(labels)[:_HARDEST]
    ]
