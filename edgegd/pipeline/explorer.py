"""explorer.html of a run folder: which images quantization hurt and which were hard to learn, as a gallery and a map.

It shows what `edgegd images` and, where it was asked, `edgegd labels` found. The reported images come with what FP32
and INT8 detected in them, training images with their losses and suspected labels. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgegd.accuracy.measured import MeasuredImages
from edgegd.accuracy.object_sizes import SIZES
from edgegd.accuracy.principal_components import principal_components
from edgegd.data.contents import current_boxes
from edgegd.data.dataset import Dataset
from edgegd.errors import LabelError, MissingArtifactError
from edgegd.pipeline.artifacts import DETECTIONS, EXPLORER, IMAGE_MAP, IMAGES, TRAINING_IMAGES, as_made
from edgegd.pipeline.images import images, stored_images
from edgegd.pipeline.measured import hash_of_image, stored_measured
from edgegd.pipeline.neck_features import neck_features
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.pipeline.stored import graph_to_quantize, stored_contents, stored_dataset
from edgegd.progress import Progress
from edgegd.report.explorer import Explorer, Shown, render_explorer
from edgegd.report.explorer.thumbnails import thumbnails
from edgegd.runtime.detector import Detections

MOST_IMAGES = 1000
_SCHEMA = 1


@dataclass(frozen=True)
class Made:
    """What was written: `images` shown of `known` ones, the `bytes` of the page, and `absent`, images that are not
    there any more or were changed since."""

    images: int
    known: int
    bytes: int
    absent: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"page": str(EXPLORER), **asdict(self)}


def make_explorer(folder: RunFolder, progress: Progress, most: int = MOST_IMAGES) -> Made:
    """Writes explorer.html and image-map.json: the worst `most` images of all that are known.

    What `edgegd images` finds is found first, where that was not done of the run's present detections. Raises as it.
    """
    if stored_images(folder) is None:
        images(folder, progress)
    dataset, measured = stored_dataset(folder), stored_measured(folder)
    shown = [*_reported(folder, dataset, measured), *_training(folder, dataset)]
    chosen = worst(shown, most)
    here = [image for image in chosen if _is_same(image.path, image.sha256)]
    absent = len(chosen) - len(here)
    places, explained = _map(folder, here, progress)
    uris = thumbnails(
        [image.path for image in here],
        dataset.channels,
        lambda done: progress.update(done, len(here), "thumbnails"),
    )
    pictures = dict(zip((image.path for image in here), uris, strict=True))
    whole = [
        replace(image.shown, thumbnail=pictures.get(image.path, ""), place=places.get(image.path)) for image in chosen
    ]
    sentences = [*_sentences(folder), *_left_out(len(chosen), len(shown), absent)]
    name = folder.path.resolve().name
    page = render_explorer(Explorer(folder.owner(), name, whole, sentences, explained)).encode()
    folder.write(EXPLORER, page)
    return Made(len(chosen), len(shown), len(page), absent)


@dataclass(frozen=True)
class Known:
    """An image of the run, and what is shown of it; `sha256` is that of its file when it was measured, if known."""

    path: Path
    sha256: str
    shown: Shown


def worst(images: Sequence[Known], most: int) -> list[Known]:
    """At most so many, in their order: of the reported images the most damaged, and for as long as both are there, one
    of the training images for each of them, the most suspected, then those of the highest loss."""
    if len(images) <= most:
        return list(images)

    def badness(image: Known) -> tuple[float, ...]:
        values = image.shown.values
        return tuple(-values.get(key, 0.0) for key in ("damage", "suspect", "loss_model", "training_loss"))

    reported = sorted((image for image in images if "damage" in image.shown.values), key=badness)
    training = sorted((image for image in images if "damage" not in image.shown.values), key=badness)
    half = most // 2
    of_training = min(len(training), max(half, most - len(reported)))
    taken = {id(image) for image in (*reported[: most - of_training], *training[:of_training])}
    return [image for image in images if id(image) in taken]


def _reported(folder: RunFolder, dataset: Dataset, measured: MeasuredImages) -> Iterator[Known]:
    """The images on which the run reports, as images.json has them."""
    with as_made(folder, IMAGES, DETECTIONS):
        found = folder.read_json(IMAGES)
        tensors = {one["image"]: one["tensors"] for one in found["worst"]}
        model, reference, conf = found["model"], found["reference"], float(found["conf"])
        height, width = measured.input_sizes[model]
        split = "test" if dataset.test_images else "val"
        for index, row in enumerate(found["images"]):
            path = measured.truth.image_paths[index]
            boxes, ids = measured.truth.boxes[index], measured.truth.class_ids[index]
            scale = float(np.min((height, width) / measured.sizes[index]))
            own = {"reference": measured.detections[reference][index], "model": measured.detections[model][index]}
            errors = [name for name in ("lost", "gained", "moved") if row[name]]
            errors += [f"{name} (INT8)" for name, count in row["kinds"]["model"].items() if count]
            values = {
                "damage": row["damage"],
                "loss_model": row["loss"]["model"],
                "loss_reference": row["loss"]["reference"],
            }
            facts = [
                f"damage {row['damage']:.3g}; boxes lost {row['lost']}, gained {row['gained']}, moved {row['moved']}",
                f"loss {row['loss']['reference']:.3g} in FP32, {row['loss']['model']:.3g} in INT8",
                *(
                    f"{one['address']}: {one['sqnr_db']:.1f} dB on this image, usually {one['typical_sqnr_db']:.1f} dB"
                    for one in tensors.get(row["image"], ())[:3]
                ),
            ]
            yield Known(
                path,
                measured.sha256[index],
                Shown(
                    _name(path, dataset),
                    split,
                    (int(measured.sizes[index][0]), int(measured.sizes[index][1])),
                    "",
                    {
                        "labels": [[*box, dataset.names[kind]] for box, kind in zip(boxes.tolist(), ids, strict=True)],
                        **{layer: list(_rows(detected, conf)) for layer, detected in own.items()},
                    },
                    {name: float(value) for name, value in values.items() if value is not None},
                    [dataset.names[kind] for kind in sorted(set(ids.tolist()))],
                    _sizes(boxes, scale),
                    errors,
                    "",
                    facts,
                ),
            )


def _training(folder: RunFolder, dataset: Dataset) -> Iterator[Known]:
    """The training images, as training-images.json has them; none where nobody asked."""
    if not folder.artifact(TRAINING_IMAGES).exists():
        return
    contents, (height, width) = stored_contents(folder), folder.recipe.model.size
    with as_made(folder, TRAINING_IMAGES):
        found = folder.read_json(TRAINING_IMAGES)
        suspects: dict[str, list[dict[str, Any]]] = {}
        for suspect in found["suspects"]:
            suspects.setdefault(suspect["image"], []).append(suspect)
        for row in found["images"]:
            path = Path(row["image"])
            if path not in contents:
                continue
            content = contents[path]
            size = (content.height, content.width)
            try:
                labels = current_boxes(path, content, len(dataset.names))
            except (LabelError, MissingArtifactError):
                labels = np.zeros((0, 5))
            boxes = _pixels(labels, size)
            ids = labels[:, 0].astype(int).tolist()
            losses = [loss for loss in row["losses"] if loss is not None]
            own = suspects.get(row["image"], [])
            values = {"training_loss": losses[-1] if losses else None, "suspect": row["suspect"]}
            facts = [f"{row['kind']}; {len(ids)} labels"]
            if losses:
                facts.append(f"loss {losses[0]:.3g} in the first epoch, {losses[-1]:.3g} in the last")
            facts += [f"{one['kind']} label: score {one['score']:.3g}" for one in own[:3]]
            yield Known(
                path,
                "",
                Shown(
                    _name(path, dataset),
                    "train",
                    size,
                    "",
                    {
                        "labels": [[*box, dataset.names[kind]] for box, kind in zip(boxes.tolist(), ids, strict=True)],
                        "suspects": [[*one["box"], one["kind"]] for one in own],
                    },
                    {name: float(value) for name, value in values.items() if value is not None},
                    [dataset.names[kind] for kind in sorted(set(ids))],
                    _sizes(boxes, min(height / size[0], width / size[1])),
                    sorted({f"{one['kind']} label" for one in own}),
                    row["kind"],
                    facts,
                ),
            )


def _map(
    folder: RunFolder, images: Sequence[Known], progress: Progress
) -> tuple[dict[Path, tuple[float, float]], list[float]]:
    """Each image's place in -1..1 and the components' shares, from image-map.json where that is of these images."""
    paths = [image.path for image in images]
    made_of = {"graph": sha256_of(folder.artifact(graph_to_quantize(folder))), "images": list(map(str, paths))}
    stored = _stored_map(folder)
    if not all(stored.get(key) == value for key, value in made_of.items()):
        rows = []
        for done, features in enumerate(neck_features(folder, paths), start=1):
            rows.append(features)
            progress.update(done, len(paths), "features of the neck")
        coordinates, explained = principal_components(np.array(rows) if rows else np.zeros((0, 1)))
        low, high = (coordinates.min(axis=0), coordinates.max(axis=0)) if rows else (np.zeros(2), np.zeros(2))
        half = float((high - low).max()) / 2 or 1.0
        stored = {
            "schema": _SCHEMA,
            "title": "Map of the images",
            **made_of,
            "explained": explained,
            "places": ((coordinates - (low + high) / 2) / half).tolist(),
        }
        folder.write_json(IMAGE_MAP, stored)
    with as_made(folder, IMAGE_MAP):
        places = {path: (float(x), float(y)) for path, (x, y) in zip(paths, stored["places"], strict=True)}
        explained = [float(share) for share in stored["explained"]]
    return places, explained if len(places) > 1 else []


def _stored_map(folder: RunFolder) -> Mapping[str, Any]:
    if not folder.artifact(IMAGE_MAP).exists():
        return {}
    with as_made(folder, IMAGE_MAP):
        stored: dict[str, Any] = folder.read_json(IMAGE_MAP)
        return stored if stored["schema"] == _SCHEMA else {}


def _sentences(folder: RunFolder) -> Iterator[str]:
    for artifact in (IMAGES, TRAINING_IMAGES):
        if folder.artifact(artifact).exists():
            with as_made(folder, artifact):
                yield str(folder.read_json(artifact)["sentence"])
    if not folder.artifact(TRAINING_IMAGES).exists():
        yield "Training images are not shown: `edgegd labels` of this run folder has not been asked."


def _left_out(chosen: int, known: int, absent: int) -> Iterator[str]:
    if chosen < known:
        yield f"The worst {chosen} of {known} images are shown."
    if absent:
        yield f"{absent} of them are not there any more, or were changed: they have no picture and no place on the map."


def _is_same(path: Path, sha256: str) -> bool:
    return path.is_file() and (not sha256 or hash_of_image(path) == sha256)


def _name(path: Path, dataset: Dataset) -> str:
    return path.relative_to(dataset.root).as_posix() if path.is_relative_to(dataset.root) else path.name


def _rows(found: Detections, conf: float) -> Iterator[list[Any]]:
    for box, score, kind in zip(found.xyxy.tolist(), found.scores.tolist(), found.class_ids.tolist(), strict=True):
        if score >= conf:
            yield [*box, f"{found.names[kind]} {score:.2f}"]


def _pixels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Rows class, x, y, w, h in 0..1 as x1 y1 x2 y2 in pixels of an image of (height, width) `size`."""
    side = np.array([size[1], size[0]], np.float64)
    centers, half = labels[:, 1:3] * side, labels[:, 3:5] * side / 2
    return np.concatenate((centers - half, centers + half), axis=1)


def _sizes(boxes: np.ndarray, scale: float) -> list[str]:
    """The sizes of objects (edgegd.accuracy.object_sizes) that an image has, `scale` being that of letterboxing."""
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) * scale**2
    return [name for name, (low, high) in SIZES.items() if ((areas >= low) & (areas < high)).any()]
