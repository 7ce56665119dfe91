"""Mean average precision of detections, by pycocotools.

AP is COCO's: precision at 101 recall levels, averaged over the IoU thresholds 0.50, 0.55, ..., 0.95 (map50_95) or taken
at 0.50 (map50), boxes of every area, averaged over the classes that have labelled boxes.
"""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.accuracy.matches import Matches, matches_of
from edgegd.errors import ClassCountError, LabelError, MissingExtraError
from edgegd.runtime.contract import ModelContract
from edgegd.runtime.detector import Detections, Detector, detections_from_output
from edgegd.runtime.images import read_for, read_image
from edgegd.runtime.letterbox import LetterboxGeometry, image_size

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Predict = Callable[[NDArray[np.uint8]], Detections]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class AccuracyResult:
    """mAP in 0..1, over all classes and per class name (`{"map50_95": ..., "map50": ...}`); images and boxes counted.

    A class is its id: those that share a name are `NAME (class ID)` here. One without labelled boxes has None for both
    values and does not enter the mean. `matches` are what intervals and differences of mAP are made from
    (edgegd.accuracy.bootstrap), `detections` what was found, an entry for each image.
    """

    map50_95: float
    map50: float
    per_class: dict[str, dict[str, float | None]]
    images: int
    boxes: int
    matches: Matches = field(repr=False, compare=False)
    detections: tuple[Detections, ...] = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The result without its matches and detections as plain dicts and numbers, ready for `json.dumps`."""
        return {
            "map50_95": self.map50_95,
            "map50": self.map50,
            "per_class": self.per_class,
            "images": self.images,
            "boxes": self.boxes,
        }


def evaluate(
    predict: Predict,
    ground_truth: GroundTruth,
    *,
    max_det: int = 300,
    channels: int = 3,
    progress: Progress | None = None,
) -> AccuracyResult:
    """The accuracy of `predict`, called once for each image (H, W, C) uint8 of the ground truth, in its order.

    `channels` is C, as read_image takes it; `max_det` is the most detections per image and class that count;
    `progress(done, total)` is called after each image.

    Raises:
        LabelError: the ground truth has no box at all, so that no precision is defined.
        UnreadableImageError: an image cannot be decoded.
        MissingExtraError: pycocotools is not installed.
    """
    detections = []
    for path in ground_truth.image_paths:
        detections.append(predict(read_image(path, channels)))
        if progress is not None:
            progress(len(detections), len(ground_truth.image_paths))
    return score(detections, ground_truth, max_det=max_det)


def score(detections: Sequence[Detections], ground_truth: GroundTruth, *, max_det: int = 300) -> AccuracyResult:
    """The accuracy of detections that were made elsewhere, one entry for each image of the ground truth, in its order.

    Raises:
        LabelError, MissingExtraError: see `evaluate`.
    """
    if not ground_truth.box_count:
        raise LabelError(
            f"none of the {len(ground_truth.image_paths)} images has a labelled box: there is nothing to measure",
            mend="check the label files' folder: the image folder's path with `images` replaced by `labels`",
        )
    evaluation = evaluated_by_coco(ground_truth, detections, max_det)
    # (T, R, K, 1, 1) -> (K, T, R): classes, 10 IoU thresholds, 101 recall levels
    precision = np.ascontiguousarray(evaluation.eval["precision"][:, :, :, 0, 0].transpose(2, 0, 1))
    of_ids: list[dict[str, float | None]] = []
    for of_class in precision:
        is_labelled = bool((of_class > -1).all())  # pycocotools marks classes without ground truth by -1
        of_ids.append(
            {
                "map50_95": float(of_class.mean()) if is_labelled else None,
                "map50": float(of_class[0].mean()) if is_labelled else None,
            }
        )
    return AccuracyResult(
        map50_95=float(np.mean([ap["map50_95"] for ap in of_ids if ap["map50_95"] is not None])),
        map50=float(np.mean([ap["map50"] for ap in of_ids if ap["map50"] is not None])),
        per_class=dict(zip(distinct(ground_truth.names), of_ids, strict=True)),
        images=len(ground_truth.image_paths),
        boxes=ground_truth.box_count,
        matches=matches_of(evaluation),
        detections=tuple(detections),
    )


def distinct(names: Sequence[str]) -> list[str]:
    """The names by id, those that several classes have with the id behind them, so that no two are equal."""
    found = list(names)
    while len(set(found)) < len(found):
        counts = Counter(found)
        found = [f"{name} (class {index})" if counts[name] > 1 else name for index, name in enumerate(found)]
    return found


def evaluate_onnx(
    path: str | Path,
    ground_truth: GroundTruth,
    *,
    conf: float = 0.001,
    iou: float = 0.7,
    max_det: int = 300,
    threads: int = 2,
    session: InferenceSession | None = None,
    progress: Progress | None = None,
) -> AccuracyResult:
    """The accuracy of an exported model in onnxruntime, through edgegd.runtime's Detector.

    `conf`, `iou` (NMS of raw outputs only) and `max_det` are those of Ultralytics' validation; as there, one box may
    carry several classes and boxes are not cut at the image's border. `threads` are onnxruntime's intra-op threads;
    `session` is one of this file that was opened otherwise.

    Raises:
        ClassCountError: the model's classes are not the ground truth's.
        OnnxUnreadableError, MetadataError, OutputContractError: see `edgegd.runtime.load_model`.
        LabelError, UnreadableImageError, MissingExtraError: see `evaluate`.
    """
    detector = Detector(
        path, conf=conf, iou=iou, max_det=max_det, threads=threads, multi_label=True, clip=False, session=session
    )
    if detector.contract.names != ground_truth.names:
        raise ClassCountError(
            f"the classes of {path} are not the data set's",
            expected=", ".join(ground_truth.names),
            found=", ".join(detector.contract.names),
            mend="evaluate the model on the data set it was trained for",
        )
    channels = detector.contract.preprocessing.image_channels
    return evaluate(detector, ground_truth, max_det=max_det, channels=channels, progress=progress)


def evaluate_outputs(
    output_of: Callable[[int], NDArray[np.float32]],
    contract: ModelContract,
    ground_truth: GroundTruth,
    *,
    conf: float = 0.001,
    iou: float = 0.7,
    max_det: int = 300,
    progress: Progress | None = None,
) -> AccuracyResult:
    """The accuracy of a model whose outputs were computed elsewhere, by the same rules as `evaluate_onnx`.

    `output_of(i)` is the model's output for the image i of the ground truth, of the shape in `contract`, letterboxed as
    the contract says.

    Raises:
        OutputContractError: an output has another shape.
        LabelError, UnreadableImageError, MissingExtraError: see `evaluate`.
    """
    preprocessing = contract.preprocessing
    total, detections = len(ground_truth.image_paths), []
    for index, path in enumerate(ground_truth.image_paths):
        size = image_size(read_for(path, preprocessing), preprocessing.image_channels)
        geometry = LetterboxGeometry.fit(size, preprocessing.imgsz)
        detections.append(
            detections_from_output(
                output_of(index),
                contract,
                geometry,
                conf=conf,
                iou=iou,
                max_det=max_det,
                multi_label=True,
                clip=False,
            )
        )
        if progress is not None:
            progress(len(detections), total)
    return score(detections, ground_truth, max_det=max_det)


def evaluated_by_coco(
    ground_truth: GroundTruth,
    detections: Sequence[Detections],
    max_det: int,
    *,
    area: tuple[float, float] | None = None,
    scales: NDArray[np.float64] | None = None,
) -> Any:
    """pycocotools' COCOeval, evaluated and accumulated, for `max_det` and one area range, that of all areas by default.

    `area` is (from, to) in square pixels of the images after they were scaled by `scales` (I,).
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MissingExtraError(
            "measuring accuracy needs pycocotools", found=str(error), mend="pip install edgegd[train]"
        ) from error
    truth, found = COCO(), COCO()
    header = {
        "images": [{"id": index} for index in range(len(ground_truth.image_paths))],
        "categories": [{"id": index} for index in range(len(ground_truth.names))],
    }
    squares = np.ones(len(ground_truth.image_paths)) if scales is None else scales**2
    truth.dataset = {**header, "annotations": list(_truth_annotations(ground_truth, squares.tolist()))}
    found.dataset = {**header, "annotations": list(_found_annotations(detections, squares.tolist()))}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth.createIndex()
        found.createIndex()
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.params.maxDets = [max_det]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [area or evaluation.params.areaRng[0]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _truth_annotations(ground_truth: GroundTruth, squares: list[float]) -> Iterator[dict[str, Any]]:
    rows = zip(ground_truth.boxes, ground_truth.class_ids, squares, strict=True)
    number = 0
    for image, (boxes, class_ids, square) in enumerate(rows):
        for box, class_id in zip(boxes.tolist(), class_ids.tolist(), strict=True):
            number += 1
            yield _annotation(number, image, class_id, box, square)


def _found_annotations(detections: Sequence[Detections], squares: list[float]) -> Iterator[dict[str, Any]]:
    number = 0
    for image, (found, square) in enumerate(zip(detections, squares, strict=True)):
        rows = zip(found.xyxy.tolist(), found.class_ids.tolist(), found.scores.tolist(), strict=True)
        for box, class_id, score in rows:
            number += 1
            yield {**_annotation(number, image, class_id, box, square), "score": score}


def _annotation(number: int, image: int, class_id: int, box: list[float], square: float) -> dict[str, Any]:
    """A COCO annotation; `number` counts from 1, because pycocotools takes the id 0 for "not matched"."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    return {
        "id": number,
        "image_id": image,
        "category_id": class_id,
        "bbox": [x1, y1, width, height],
        "area": width * height * square,
        "iscrowd": 0,
    }
