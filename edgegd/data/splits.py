"""Which images choose and which report: a YAML's test images, and a share of its training images that is held out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from edgegd.data.labels import label_path
from edgegd.data.yaml_set import DataYaml, list_images
from edgegd.errors import NoImagesError


def usable_test_images(described: DataYaml) -> tuple[Path, ...]:
    """The images of the YAML's `test`, sorted by path; none where accuracy cannot be measured on them.

    That is where it names none, the same folders as `val` (as VOC.yaml does), folders that are not there, or images of
    which none has a label file (as COCO's test-dev).
    """
    entries = described.splits.get("test", ())
    if not entries or set(entries) == set(described.splits["val"]) or not all(entry.exists() for entry in entries):
        return ()
    images = list_images("test", described)
    return images if any(label_path(image).is_file() for image in images) else ()


def held_out(train: Sequence[Path], share: float, seed: int) -> tuple[Path, ...]:
    """`share` (0..1) of the training images, at least one, drawn by `seed`, sorted by path.

    Raises NoImagesError where no image would be left to train on.
    """
    count = max(1, round(share * len(train)))
    if count >= len(train):
        raise NoImagesError(
            f"data.select holdout leaves nothing to train on: {count} of {len(train)} training images are held out",
            expected="more training images",
            mend="lower data.holdout_share, or set data.select: val",
        )
    return tuple(sorted(random.Random(seed).sample(sorted(train), count)))
