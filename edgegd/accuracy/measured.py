"""What a run detected on labelled images, with the labels: all that mAP, its differences and its gates are made from.

As arrays it is what a run folder keeps (edgegd.pipeline.measured): 22 bytes for a detection, 34 for a labelled box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegd.accuracy.evaluate import score
from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.accuracy.matches import Matches
from edgegd.runtime.detector import Detections

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class MeasuredImages:
    """The images of a measurement, and what each model found in them.

    `truth` has the labelled boxes; `sizes` (I, 2) int32 each image's height and width in pixels, `sha256` a hash of
    each image's file. `detections` has for each model an entry for each image, `input_sizes` the (height, width) of
    each model's input in pixels. `conf`, `iou` and `max_det` are the settings of the measurement
    (edgegd.accuracy.evaluate.evaluate_onnx).
    """

    truth: GroundTruth
    sizes: NDArray[np.int32]
    sha256: tuple[str, ...]
    detections: Mapping[str, tuple[Detections, ...]]
    input_sizes: Mapping[str, tuple[int, int]]
    conf: float
    iou: float
    max_det: int

    @property
    def settings(self) -> dict[str, float]:
        """What must be equal where two measurements are compared."""
        return {"conf": self.conf, "iou": self.iou, "max_det": self.max_det}

    def matches(self, model: str) -> Matches:
        """pycocotools' matches of a model, as they were when its mAP was measured. Raises as `score`."""
        return score(self.detections[model], self.truth, max_det=self.max_det).matches

    def to_arrays(self) -> Arrays:
        """Every number, by name: of the labels `truth.*`, of a model `MODEL.*`, and `sizes`."""
        arrays: Arrays = {"sizes": np.asarray(self.sizes, np.int32)}
        arrays |= _packed("truth", self.truth.boxes, self.truth.class_ids, np.float64)
        for model, found in self.detections.items():
            arrays |= _packed(model, [one.xyxy for one in found], [one.class_ids for one in found], np.float32)
            arrays[f"{model}.scores"] = np.concatenate([np.zeros(0, np.float32), *(one.scores for one in found)])
        return arrays

    def to_dict(self) -> dict[str, Any]:
        """All that is no array, ready for `json.dumps`."""
        return {
            "images": [str(path) for path in self.truth.image_paths],
            "names": list(self.truth.names),
            "sha256": list(self.sha256),
            "input_sizes": {model: list(size) for model, size in self.input_sizes.items()},
            **self.settings,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays, fields: Mapping[str, Any]) -> MeasuredImages:
        """The measurement of which `to_arrays` and `to_dict` made these; ValueError or KeyError for any others."""
        names, images = tuple(map(str, fields["names"])), tuple(map(Path, fields["images"]))
        boxes, class_ids = _unpacked("truth", arrays, len(images), len(names), np.float64)
        sizes, hashes = arrays["sizes"], tuple(map(str, fields["sha256"]))
        if sizes.shape != (len(images), 2) or sizes.dtype != np.int32 or len(hashes) != len(images):
            raise ValueError(f"sizes or hashes of another number of images than {len(images)}")
        if len(sizes) and sizes.min() < 1:
            raise ValueError("images without pixels")
        detections, input_sizes = {}, {}
        for model, (height, width) in fields["input_sizes"].items():
            found, ids = _unpacked(model, arrays, len(images), len(names), np.float32)
            scores = _split(_finite(arrays, f"{model}.scores", np.float32, 1), [len(of) for of in ids])
            rows = zip(found, scores, ids, strict=True)
            detections[model] = tuple(Detections(xyxy, of, kinds, names) for xyxy, of, kinds in rows)
            input_sizes[model] = (int(height), int(width))
            if min(input_sizes[model]) < 1:
                raise ValueError(f"an input of {height} x {width} pixels")
        return cls(
            GroundTruth(images, tuple(boxes), tuple(class_ids), names),
            sizes,
            hashes,
            detections,
            input_sizes,
            float(fields["conf"]),
            float(fields["iou"]),
            int(fields["max_det"]),
        )


def _packed(
    name: str, boxes: Sequence[NDArray[Any]], class_ids: Sequence[NDArray[np.int64]], kind: type[np.floating[Any]]
) -> Arrays:
    return {
        f"{name}.boxes": np.concatenate([np.zeros((0, 4), kind), *boxes]).astype(kind),
        f"{name}.classes": np.concatenate([np.zeros(0, np.int64), *class_ids]).astype(np.uint16),
        f"{name}.counts": np.array([len(of) for of in class_ids], np.int32),
    }


def _unpacked(
    name: str, arrays: Arrays, images: int, classes: int, kind: type[np.floating[Any]]
) -> tuple[list[NDArray[Any]], list[NDArray[np.int64]]]:
    counts, ids = arrays[f"{name}.counts"], arrays[f"{name}.classes"]
    boxes = _finite(arrays, f"{name}.boxes", kind, 2)
    if counts.shape != (images,) or counts.dtype != np.int32 or (counts < 0).any():
        raise ValueError(f"{name}.counts is not a count for each of {images} images")
    if ids.ndim != 1 or ids.dtype != np.uint16 or (ids >= classes).any():
        raise ValueError(f"{name}.classes is not of {classes} classes")
    if boxes.shape[1] != 4:
        raise ValueError(f"{name}.boxes has shape {boxes.shape}")
    return _split(boxes, counts.tolist()), _split(ids.astype(np.int64), counts.tolist())


def _finite(arrays: Arrays, name: str, kind: type[np.floating[Any]], dimensions: int) -> NDArray[Any]:
    values = arrays[name]
    if values.ndim != dimensions or values.dtype != kind or not np.isfinite(values).all():
        raise ValueError(f"{name} is not of finite {np.dtype(kind)} numbers")
    return values


def _split(values: NDArray[Any], counts: Sequence[int]) -> list[NDArray[Any]]:
    """The rows of each image; ValueError where they are not as many as the counts say."""
    if len(values) != sum(counts):
        raise ValueError(f"{len(values)} rows where {sum(counts)} were counted")
    return np.split(values, np.cumsum(counts)[:-1]) if len(counts) else []
