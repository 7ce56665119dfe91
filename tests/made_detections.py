"""Labelled boxes and detections drawn by lot: some near the boxes, some far, with many equal scores where wanted."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.runtime.detector import Detections


def made_up(seed: int, images: int = 12, classes: int = 5, scores: int = 1000) -> tuple[GroundTruth, list[Detections]]:
    """Boxes and detections drawn by lot; every third image has no box, the last class none at all.

    Scores are multiples of 1 / `scores`: with few of them almost every detection is tied.
    """
    random, names = np.random.default_rng(seed), tuple(f"class {index}" for index in range(classes))
    boxes, ids, found = [], [], []
    for image in range(images):
        count = 0 if image % 3 == 2 else int(random.integers(1, 9))
        corners = random.uniform(0, 300, (count, 2))
        own = np.concatenate([corners, corners + random.uniform(20, 90, (count, 2))], axis=1)
        own_ids = random.integers(0, classes - 1, count)
        guesses = np.concatenate(
            [
                own + random.normal(0, 5, own.shape),
                own + random.normal(0, 15, own.shape),
                random.uniform(0, 80, (6, 4)).cumsum(axis=1),
            ]
        )
        guessed_ids = np.concatenate([own_ids, own_ids, random.integers(0, classes, 6)])
        values = np.ceil(random.uniform(0, 1, len(guesses)) * scores) / scores
        boxes.append(own)
        ids.append(own_ids)
        found.append(Detections(guesses.astype(np.float32), values.astype(np.float32), guessed_ids, names))
    return GroundTruth(tuple(Path(f"{i}.png") for i in range(images)), tuple(boxes), tuple(ids), names), found
