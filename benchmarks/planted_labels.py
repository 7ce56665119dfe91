"""Label faults planted at a known rate: classes swapped, boxes moved, boxes dropped (benchmarks/label_faults.py)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegd.accuracy.ground_truth import GroundTruth

RATE = 0.05
"""Of all boxes, for each kind."""
KINDS = ("swapped", "badly placed", "overlooked")
SHIFT = (0.2, 0.4)
"""Of its own width and height, by which a box is moved in both directions: IoU 0.47 to 0.22 with where it was."""


@dataclass(frozen=True)
class Fault:
    """A planted fault: the image's index, the box (4,) and class as they were, and the row of the faulted labels."""

    kind: str
    image: int
    box: NDArray[np.float64]
    class_id: int
    row: int | None


def plant(truth: GroundTruth, sizes: Sequence[tuple[int, int]], seed: int) -> tuple[GroundTruth, list[Fault]]:
    """The labels with faults in different boxes, RATE of each kind; `sizes` are (width, height) of the images."""
    random, classes = np.random.default_rng(seed), len(truth.names)
    of_boxes = [(image, row) for image, ids in enumerate(truth.class_ids) for row in range(len(ids))]
    count = round(RATE * len(of_boxes))
    chosen = random.permutation(len(of_boxes))[: count * len(KINDS)]
    kinds = {of_boxes[at]: KINDS[number // count] for number, at in enumerate(chosen.tolist())}
    boxes, ids, faults = [], [], []
    for image, size in enumerate(sizes):
        kept_boxes, kept_ids = [], []
        for row, (box, class_id) in enumerate(zip(truth.boxes[image], truth.class_ids[image].tolist(), strict=True)):
            kind, now, now_id = kinds.get((image, row), ""), box, class_id
            if kind == "swapped":
                now_id = int((class_id + random.integers(1, classes)) % classes)
            elif kind == "badly placed":
                now = moved(box, size, random)
            if kind:
                faults.append(Fault(kind, image, box, class_id, None if kind == "overlooked" else len(kept_ids)))
            if kind != "overlooked":
                kept_boxes.append(now)
                kept_ids.append(now_id)
        boxes.append(np.array(kept_boxes, np.float64).reshape(-1, 4))
        ids.append(np.array(kept_ids, np.int64))
    return GroundTruth(truth.image_paths, tuple(boxes), tuple(ids), truth.names), faults


def moved(box: NDArray[np.float64], size: tuple[int, int], random: np.random.Generator) -> NDArray[np.float64]:
    """The box (4,) somewhere beside, still wholly in the image: where it cannot go one way it goes the other."""
    side = box[2:] - box[:2]
    shift = side * random.uniform(*SHIFT, 2) * random.choice([-1, 1], 2)
    outside = (box[:2] + shift < 0) | (box[2:] + shift > np.array(size))
    shift = np.where(outside, -shift, shift)
    return np.concatenate([np.clip(box[:2] + shift, 0, None), np.minimum(box[2:] + shift, size)])


def write_set(place: Path, train: GroundTruth, sizes: Sequence[tuple[int, int]], val: Sequence[Path]) -> Path:
    """A YOLO data set with these training labels and links to the images; validation keeps its own labels."""
    for split, images in (("train", train.image_paths), ("val", val)):
        for kind in ("images", "labels"):
            (place / kind / split).mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(images):
            link = place / "images" / split / image.name
            if not link.exists():
                os.symlink(image.resolve(), link)
            labels = place / "labels" / split / f"{image.stem}.txt"
            if split == "val":
                source = Path(str(image).replace("/images/", "/labels/")).with_suffix(".txt")
                labels.write_text(source.read_text())
                continue
            width, height = sizes[number]
            rows = []
            for (x1, y1, x2, y2), kind_id in zip(train.boxes[number], train.class_ids[number].tolist(), strict=True):
                x, y, w, h = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height
                rows.append(f"{kind_id} {x:.8f} {y:.8f} {w:.8f} {h:.8f}\n")
            labels.write_text("".join(rows))
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(train.names))
    file = place / "data.yaml"
    file.write_text(f"path: {place.resolve()}\ntrain: images/train\nval: images/val\nnames:\n{names}")
    return file
