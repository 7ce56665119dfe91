"""A run folder in which stage `accuracy` is played: images of a few bytes, models that find a known part of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgegd.accuracy.evaluate import score
from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.data.contents import ImageContent, hash_of_boxes
from edgegd.data.labels import label_path
from edgegd.pipeline.artifacts import DATA, DESCENT, DETECTIONS, PORTABLE
from edgegd.pipeline.measured import store_measured
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.recipe.build import build
from edgegd.recipe.schema import Recipe
from edgegd.runtime.detector import Detections

NAMES = ("cell", "dust")
SIDE = 100


def make_set(place: Path, images: int, boxes: int = 2) -> list[Path]:
    """Images that are only hashed, never read, each with so many labelled boxes; of every tenth, one is dust."""
    paths = [place / f"images/val/{number:03}.jpg" for number in range(images)]
    for number, path in enumerate(paths):
        for file in (path, label_path(path)):
            file.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"image %d" % number)
        kinds = [int(number % 10 == 0 and box == 0) for box in range(boxes)]
        rows = [f"{kind} {0.2 + 0.3 * box:.2f} 0.5 0.1 0.1\n" for box, kind in enumerate(kinds)]
        label_path(path).write_text("".join(rows))
    return paths


def play_run(
    folder: Path,
    images: Sequence[Path],
    missed: Mapping[str, int],
    names: Sequence[str] = NAMES,
    best_epoch: int = 1,
    accuracy: Mapping[str, float] | None = None,
) -> RunFolder:
    """A run folder whose models find all boxes but those of the first `missed` images; `accuracy` are its settings.

    Models that miss as many are one file.
    """
    values = {
        "target": {"profile": "x86-vnni"},
        "model": {"imgsz": 64},
        "data": {"path": "played.yaml"},
        "accuracy": dict(accuracy or {}),
    }
    recipe, mistakes = build(Recipe, values, Recipe, "")
    assert not mistakes
    run = RunFolder.create(folder, Recipe(**recipe), "played")
    rows = [np.array([line.split() for line in label_path(path).read_text().splitlines()], float) for path in images]
    labels = [row.reshape(-1, 5) for row in rows]
    contents = [ImageContent(SIDE, SIDE, len(row), hash_of_boxes(row)) for row in labels]
    boxes = [SIDE * np.concatenate([r[:, 1:3] - r[:, 3:] / 2, r[:, 1:3] + r[:, 3:] / 2], axis=1) for r in labels]
    truth = GroundTruth(tuple(images), tuple(boxes), tuple(r[:, 0].astype(np.int64) for r in labels), tuple(names))
    run.write_json(
        DATA,
        {
            "root": str(images[0].parent),
            "yaml_path": "played.yaml",
            "names": list(names),
            "train_images": [],
            "val_images": [str(path) for path in images],
            "contents": [dataclasses.astuple(content) for content in contents],
        },
    )
    run.write_json(DESCENT, {"best_epoch": best_epoch})
    for variant, count in missed.items():
        run.write(PORTABLE[variant], b"a model that misses %d" % count)
    results = {variant: score(found_in(truth, count), truth) for variant, count in missed.items()}
    store_measured(run, truth, results)
    finish(run)
    return run


def found_in(truth: GroundTruth, missed: int) -> list[Detections]:
    """Every box with a falling score, except in the first `missed` images."""
    found = []
    for number, (boxes, kinds) in enumerate(zip(truth.boxes, truth.class_ids, strict=True)):
        keep = slice(0, 0) if number < missed else slice(None)
        scores = np.linspace(0.9, 0.5, len(boxes), dtype=np.float32)
        found.append(Detections(boxes.astype(np.float32)[keep], scores[keep], kinds[keep], truth.names))
    return found


def finish(run: RunFolder) -> None:
    """The manifest of stage `accuracy` for the files as they are."""
    hashes = {str(name): sha256_of(run.artifact(name)) for name in (DATA, DETECTIONS)}
    inputs = {"artifacts": {"data.json": hashes["data.json"]}}
    (run.path / "manifests").mkdir(exist_ok=True)
    run.write_json("manifests/accuracy.json", {"schema": 1, "inputs": inputs, "outputs": hashes})
