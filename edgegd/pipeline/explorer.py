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

from edgegd.accuracy.principal_components import principal_components
from edgegd.pipeline.artifacts import DETECTIONS, EXPLORER, IMAGE_MAP, IMAGES, TRAINING_IMAGES, as_made
from edgegd.pipeline.explored_images import Known, reported_images, training_images
from edgegd.pipeline.images import images, stored_images
from edgegd.pipeline.measured import hash_of_image, stored_measured
from edgegd.pipeline.neck_features import neck_features
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.pipeline.stored import graph_to_quantize, stored_dataset
from edgegd.progress import Progress
from edgegd.report.explorer import Explorer, render_explorer
from edgegd.report.explorer.thumbnails import thumbnails

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
    shown = [*reported_images(folder, dataset, measured), *training_images(folder, dataset)]
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
    with as_made(folder, IMAGES, DETECTIONS, TRAINING_IMAGES):
        whole = [
            replace(image.show(), thumbnail=pictures.get(image.path, ""), place=places.get(image.path))
            for image in chosen
        ]
    sentences = [*_sentences(folder), *_left_out(len(chosen), len(shown), absent)]
    name = folder.path.resolve().name
    page = render_explorer(Explorer(folder.owner(), name, whole, sentences, explained)).encode()
    folder.write(EXPLORER, page)
    return Made(len(chosen), len(shown), len(page), absent)


def worst(images: Sequence[Known], most: int) -> list[Known]:
    """At most so many, in their order: of the reported images the most damaged, and for as long as both are there, one
    of the training images for each of them, the most suspected, then those of the highest loss."""
    if len(images) <= most:
        return list(images)

    def badness(image: Known) -> tuple[float, ...]:
        return tuple(-image.values.get(key, 0.0) for key in ("damage", "suspect", "loss_model", "training_loss"))

    reported = sorted((image for image in images if "damage" in image.values), key=badness)
    training = sorted((image for image in images if "damage" not in image.values), key=badness)
    half = most // 2
    of_training = min(len(training), max(half, most - len(reported)))
    taken = {id(image) for image in (*reported[: most - of_training], *training[:of_training])}
    return [image for image in images if id(image) in taken]


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
