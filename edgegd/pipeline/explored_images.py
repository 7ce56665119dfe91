"""The images that explorer.html can show: what `edgegd images` and `edgegd labels` found of each, and its boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgegd.accuracy.ground_truth import boxes_in_pixels
from edgegd.accuracy.measured import MeasuredImages
from edgegd.accuracy.object_sizes import SIZES
from edgegd.data.contents import ImageContent, current_boxes
from edgegd.data.dataset import Dataset
from edgegd.errors import LabelError, MissingArtifactError
from edgegd.pipeline.artifacts import DETECTIONS, IMAGES, TRAINING_IMAGES, as_made
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stored import stored_contents
from edgegd.report.explorer import Shown
from edgegd.runtime.detector import Detections

_TENSORS = 3  # and suspects, of an image


@dataclass(frozen=True)
class Known:
    """An image of the run; `sha256` is that of its file when it was measured, if known, `values` are those of MEASURES.

    `show()` makes what is shown of it: of many images, few are.
    """

    path: Path
    sha256: str
    values: Mapping[str, float]
    show: Callable[[], Shown]


def reported_images(folder: RunFolder, dataset: Dataset, measured: MeasuredImages) -> Iterator[Known]:
    """The images on which the run reports, as images.json has them."""
    with as_made(folder, IMAGES, DETECTIONS):
        found = folder.read_json(IMAGES)
        tensors = {one["image"]: one["tensors"] for one in found["worst"]}
        for index, row in enumerate(found["images"]):
            losses = row["loss"]
            values = {"damage": row["damage"], "loss_model": losses["model"], "loss_reference": losses["reference"]}
            known = {name: float(value) for name, value in values.items() if value is not None}
            show = partial(_shown_measured, measured, dataset, found, tensors, index, known)
            yield Known(measured.truth.image_paths[index], measured.sha256[index], known, show)


def _shown_measured(
    measured: MeasuredImages,
    dataset: Dataset,
    found: Mapping[str, Any],
    tensors: Mapping[str, Sequence[Mapping[str, Any]]],
    index: int,
    values: Mapping[str, float],
) -> Shown:
    """The image of this index, as images.json has it (`found`), with its worst tensors."""
    row, path, conf = found["images"][index], measured.truth.image_paths[index], float(found["conf"])
    boxes, ids = measured.truth.boxes[index], measured.truth.class_ids[index]
    height, width = measured.sizes[index].tolist()
    detected = {layer: measured.detections[found[layer]][index] for layer in ("reference", "model")}
    errors = [name for name in ("lost", "gained", "moved") if row[name]]
    errors += [f"{name} (INT8)" for name, count in row["kinds"]["model"].items() if count]
    facts = [
        f"damage {row['damage']:.3g}; boxes lost {row['lost']}, gained {row['gained']}, moved {row['moved']}",
        f"loss {row['loss']['reference']:.3g} in FP32, {row['loss']['model']:.3g} in INT8",
    ]
    for one in tensors.get(row["image"], ())[:_TENSORS]:
        own, typical = one["own_sqnr_db"], one["typical_own_sqnr_db"]
        facts.append(f"{one['address']}: its own error leaves {own:.1f} dB here, usually {typical:.1f} dB")
    return Shown(
        _name(path, dataset),
        "test" if dataset.test_images else "val",
        (height, width),
        "",
        {
            "labels": _labelled(boxes, ids.tolist(), dataset.names),
            **{layer: list(_rows(of, conf)) for layer, of in detected.items()},
        },
        values,
        [dataset.names[kind] for kind in sorted(set(ids.tolist()))],
        _sizes(boxes, float(np.min(np.array(measured.input_sizes[found["model"]]) / (height, width)))),
        errors,
        "",
        facts,
    )


def training_images(folder: RunFolder, dataset: Dataset) -> Iterator[Known]:
    """The training images, as training-images.json has them; none where nobody asked."""
    if not folder.artifact(TRAINING_IMAGES).exists():
        return
    contents = stored_contents(folder)
    with as_made(folder, TRAINING_IMAGES):
        found = folder.read_json(TRAINING_IMAGES)
        suspects: dict[str, list[dict[str, Any]]] = {}
        for suspect in found["suspects"]:
            suspects.setdefault(suspect["image"], []).append(suspect)
        for row in found["images"]:
            path = Path(row["image"])
            if path not in contents:
                continue
            values = {"training_loss": next(reversed(_losses(row)), None), "suspect": row["suspect"]}
            known = {name: float(value) for name, value in values.items() if value is not None}
            own = suspects.get(row["image"], [])
            show = partial(_shown_training, dataset, folder.recipe.model.size, contents[path], row, own, known)
            yield Known(path, "", known, show)


def _shown_training(
    dataset: Dataset,
    input_size: tuple[int, int],
    content: ImageContent,
    row: Mapping[str, Any],
    suspects: Sequence[Mapping[str, Any]],
    values: Mapping[str, float],
) -> Shown:
    """A training image, as training-images.json has it (`row`); without boxes where its labels were changed since."""
    path, size = Path(row["image"]), (content.height, content.width)
    try:
        labels = current_boxes(path, content, len(dataset.names))
    except (LabelError, MissingArtifactError):
        labels = np.zeros((0, 5))
    boxes, ids, losses = boxes_in_pixels(labels, size), labels[:, 0].astype(int).tolist(), _losses(row)
    facts = [f"{row['kind']}; {len(ids)} labels"]
    if losses:
        facts.append(f"loss {losses[0]:.3g} in the first epoch, {losses[-1]:.3g} in the last")
    facts += [f"{one['kind']} label: score {one['score']:.3g}" for one in suspects[:_TENSORS]]
    return Shown(
        _name(path, dataset),
        "train",
        size,
        "",
        {
            "labels": _labelled(boxes, ids, dataset.names),
            "suspects": [[*one["box"], one["kind"]] for one in suspects],
        },
        values,
        [dataset.names[kind] for kind in sorted(set(ids))],
        _sizes(boxes, min(input_size[0] / size[0], input_size[1] / size[1])),
        sorted({f"{one['kind']} label" for one in suspects}),
        row["kind"],
        facts,
    )


def _losses(row: Mapping[str, Any]) -> list[float]:
    return [loss for loss in row["losses"] if loss is not None]


def _labelled(boxes: np.ndarray, ids: Sequence[int], names: Sequence[str]) -> list[list[Any]]:
    return [[*box, names[kind]] for box, kind in zip(boxes.tolist(), ids, strict=True)]


def _name(path: Path, dataset: Dataset) -> str:
    return path.relative_to(dataset.root).as_posix() if path.is_relative_to(dataset.root) else path.name


def _rows(found: Detections, conf: float) -> Iterator[list[Any]]:
    for box, score, kind in zip(found.xyxy.tolist(), found.scores.tolist(), found.class_ids.tolist(), strict=True):
        if score >= conf:
            yield [*box, f"{found.names[kind]} {score:.2f}"]


def _sizes(boxes: np.ndarray, scale: float) -> list[str]:
    """The sizes of objects (edgegd.accuracy.object_sizes) that an image has, `scale` being that of letterboxing."""
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) * scale**2
    return [name for name, (low, high) in SIZES.items() if ((areas >= low) & (areas < high)).any()]
