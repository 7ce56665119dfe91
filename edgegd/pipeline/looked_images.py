"""What FP32 and the INT8 model of a run say of its training images, some of them at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.accuracy.image_comparison import compare_images
from edgegd.accuracy.label_support import label_support
from edgegd.accuracy.label_suspects import BADLY_PLACED, KINDS, OVERLOOKED, SWAPPED, suspects, worst
from edgegd.accuracy.measured import MeasuredImages
from edgegd.data.contents import ImageContent
from edgegd.errors import MissingArtifactError
from edgegd.foreign_text import one_line
from edgegd.pipeline.artifacts import PORTABLE
from edgegd.pipeline.run_folder import RunFolder
from edgegd.progress import Progress
from edgegd.runtime.detector import Detections, Detector
from edgegd.runtime.images import read_image
from edgegd.verify.exact_session import load_exact

REFERENCE = "fp32"
SUPPORT, OBJECTLAB = "support", "objectlab"
LEAST_SCORE, MOST_DETECTIONS = 0.05, 100
AT_A_TIME = 256
LEAST_SUSPICION = {
    SUPPORT: {OVERLOOKED: 0.5, BADLY_PLACED: 0.15, SWAPPED: 0.15},
    OBJECTLAB: dict.fromkeys(KINDS, 0.5),
}
"""From which a suspect is listed: on planted faults half to nearly all of what is listed was one (docs/labels.md)."""
HARDEST = 50
_THREADS = 2


class LookedAt:
    """What was found in the images that were looked at so far."""

    def __init__(self, folder: RunFolder, variant: str, conf: float, most: int, *, keeps: bool) -> None:
        self.rows: list[dict[str, Any]] = []
        self.suspects: list[dict[str, Any]] = []
        self.hardest_labels: list[dict[str, Any]] = []
        self.kept: list[Detections] = []
        self._keeps, self._variant, self._conf, self._most = keeps, variant, conf, most
        self._iou, self._size = folder.recipe.accuracy.iou, folder.recipe.model.size
        self._detectors = {name: _detector(folder, name) for name in (REFERENCE, variant)}

    def at(
        self, truth: GroundTruth, contents: Sequence[ImageContent], done: int, total: int, progress: Progress
    ) -> None:
        """Looks at some images, after `done` of `total`; those that were left so far stay the worst of all."""
        detections = self._detect(truth, contents, done, total, progress)
        reference, (height, width) = detections[REFERENCE], self._size
        found = [label_support(*one) for one in zip(reference, truth.boxes, truth.class_ids, strict=True)]
        suspicions = [one.suspicions for one in found]
        measured = MeasuredImages(
            truth,
            np.array([(one.height, one.width) for one in contents], np.int32),
            ("",) * len(contents),
            detections,
            {name: (height, width) for name in detections},
            LEAST_SCORE,
            self._iou,
            MOST_DETECTIONS,
        )
        compared = compare_images(measured, self._variant, REFERENCE, self._conf)["images"]
        self.rows += [
            {key: row[key] for key in ("image", "size", "labels", "classes")}
            | {"hurt": row["damage"], "error": row["loss"], "suspect": round(one.image, 4)}
            for row, one in zip(compared, suspicions, strict=True)
        ]
        new = suspects(suspicions, reference, truth, LEAST_SUSPICION[SUPPORT], self._most)
        self.suspects = worst([*self.suspects, *new], self._most)
        hardest = [*self.hardest_labels, *_labels(truth, [one.own for one in found])]
        self.hardest_labels = sorted(hardest, key=lambda one: float(one["support"]))[:HARDEST]
        self.kept += reference if self._keeps else ()

    def _detect(
        self, truth: GroundTruth, contents: Sequence[ImageContent], done: int, total: int, progress: Progress
    ) -> dict[str, tuple[Detections, ...]]:
        """What both models detect in exact sessions, each image read once."""
        found: dict[str, list[Detections]] = {name: [] for name in self._detectors}
        channels = self._detectors[REFERENCE].contract.preprocessing.image_channels
        for number, (path, content) in enumerate(zip(truth.image_paths, contents, strict=True), done + 1):
            image = read_image(path, channels)
            if image.shape[:2] != (content.height, content.width):
                raise MissingArtifactError(
                    f"{one_line(path)} is not the image that stage `data` read.",
                    expected=f"{content.height} x {content.width} (height, width)",
                    found=" x ".join(map(str, image.shape[:2])),
                    mend="run the recipe again (edgegd run ...)",
                )
            for name, detector in self._detectors.items():
                found[name].append(detector(image))
            progress.update(number, total, f"FP32 and {self._variant} on training images")
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


def _labels(truth: GroundTruth, support: Sequence[NDArray[np.float64]]) -> Iterator[dict[str, Any]]:
    """Every label with its support."""
    for path, boxes, ids, values in zip(truth.image_paths, truth.boxes, truth.class_ids, support, strict=True):
        for box, class_id, value in zip(boxes.tolist(), ids.tolist(), values.tolist(), strict=True):
            yield {
                "image": str(path),
                "box": [round(side, 1) for side in box],
                "class_id": class_id,
                "support": round(value, 4),
            }
