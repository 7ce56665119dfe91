"""Oracles: pycocotools' own loadRes and summarize, and Ultralytics' metrics, on the same detections of real images.

Why the tolerance to Ultralytics is 0.005: it integrates the precision envelope by trapezoids between interpolated
points (ultralytics/utils/metrics.py, compute_ap), where COCO averages 101 samples of the step function. With few boxes
of a class the two differ by some thousandths on the very same matches.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgegd.accuracy.evaluate import AccuracyResult, evaluate, evaluate_onnx
from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.data.dataset import Dataset
from edgegd.data.view import ultralytics_yaml
from edgegd.runtime.detector import Detections, Detector

TOLERANCE = {
    "pycocotools": 1e-9,  # the same library on the same numbers; only the order of the mean's additions differs
    "ultralytics": 0.005,  # another integration rule, see above
}


Judged = tuple[AccuracyResult, list[Detections], GroundTruth]


@pytest.fixture(scope="module")
def judged(evaluated: Callable[[str], Any], photographs: GroundTruth) -> Callable[[str], Judged]:
    """judged(name): a model's detections in a set of `evaluated`; `moved`: made ones in photographs."""

    @cache
    def judge(name: str) -> Judged:
        if name == "moved":
            return _judged(_moved(photographs), photographs)
        detector = Detector(evaluated(name).model, conf=0.001, multi_label=True, threads=2, clip=False)
        return _judged(detector, evaluated(name).truth)

    return judge


def _moved(truth: GroundTruth) -> Callable[[np.ndarray], Detections]:
    """A predictor of the true boxes, moved by some pixels, some of them lost and some false."""
    random, true = np.random.default_rng(0), zip(truth.boxes, truth.class_ids, strict=True)

    def predict(image: np.ndarray) -> Detections:
        boxes, class_ids = next(true)
        kept, false = random.random(len(boxes)) < 0.9, random.uniform(0, 440, (4, 2))
        found = np.concatenate([boxes[kept] + random.normal(0, 4, (kept.sum(), 4)), np.hstack([false, false + 40])])
        ids = np.concatenate([class_ids[kept], random.integers(0, 3, 4)])
        order, scores = random.permutation(len(found)), np.sort(random.uniform(0.01, 1, len(found)))[::-1]
        return Detections(
            found[order].astype(np.float32), scores.astype(np.float32), ids[order].astype(np.int64), truth.names
        )

    return predict


def _judged(predict: Any, truth: GroundTruth) -> Judged:
    seen: list[Detections] = []

    def remember(image: np.ndarray) -> Detections:
        seen.append(predict(image))
        return seen[-1]

    return evaluate(remember, truth), seen, truth


ALL = pytest.mark.parametrize("name", ["streets", "bccd", "moved"])
MODELS = pytest.mark.parametrize("name", ["streets", "bccd"])


@ALL
@pytest.mark.slow
def test_equals_pycocotools_summary(
    name: str, judged: Callable[[str], Judged], capsys: pytest.CaptureFixture[str]
) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    result, detections, truth = judged(name)
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": index} for index in range(len(truth.image_paths))],
        "categories": [{"id": index} for index in range(3)],
        "annotations": [{"id": number, **annotation} for number, annotation in enumerate(_annotations(truth), start=1)],
    }
    coco.createIndex()
    rows = [
        [image, x1, y1, x2 - x1, y2 - y1, score, class_id]
        for image, found in enumerate(detections)
        for (x1, y1, x2, y2), score, class_id in zip(
            found.xyxy.astype(np.float64), found.scores, found.class_ids, strict=True
        )
    ]
    evaluation = COCOeval(coco, coco.loadRes(np.array(rows)), "bbox")
    evaluation.params.maxDets = [1, 10, 300]
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()  # stats[1]: AP at IoU 0.5 for maxDets[2]; stats[0] looks for maxDets 100
    assert result.map50 == pytest.approx(evaluation.stats[1], abs=TOLERANCE["pycocotools"])
    evaluation.params.maxDets = [1, 10, 100]  # every image has fewer than 100 true boxes, but not fewer detections
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    with_100 = evaluate(iter_over(detections), truth, max_det=100)
    assert with_100.map50_95 == pytest.approx(evaluation.stats[0], abs=TOLERANCE["pycocotools"])
    capsys.readouterr()


@ALL
@pytest.mark.slow
def test_agrees_with_ultralytics_metrics(name: str, judged: Callable[[str], Judged]) -> None:
    import torch
    from ultralytics.engine.validator import BaseValidator
    from ultralytics.utils.metrics import DetMetrics, box_iou

    result, detections, truth = judged(name)
    metrics: Any = DetMetrics(dict(enumerate(truth.names)))
    thresholds = SimpleNamespace(iouv=torch.linspace(0.5, 0.95, 10))
    for path, boxes, class_ids, found in zip(truth.image_paths, truth.boxes, truth.class_ids, detections, strict=True):
        iou = box_iou(torch.from_numpy(boxes).float(), torch.from_numpy(found.xyxy))
        predicted, actual = torch.from_numpy(found.class_ids), torch.from_numpy(class_ids)
        correct = BaseValidator.match_predictions(thresholds, predicted, actual, iou)  # type: ignore[arg-type]
        metrics.update_stats(
            {
                "tp": correct.numpy(),
                "conf": found.scores,
                "pred_cls": found.class_ids,
                "target_cls": class_ids,
                "target_img": np.unique(class_ids),
                "im_name": path.name,
            }
        )
    metrics.process()
    assert result.map50_95 == pytest.approx(metrics.box.map, abs=TOLERANCE["ultralytics"])
    assert result.map50 == pytest.approx(metrics.box.map50, abs=TOLERANCE["ultralytics"])
    assert 0.35 < result.map50_95 < 0.7, "agreement on nothing would prove nothing"


@MODELS
@pytest.mark.slow
def test_evaluate_onnx_is_the_detector_of_ultralytics_validation(
    name: str, judged: Callable[[str], Judged], evaluated: Callable[[str], Any]
) -> None:
    assert evaluate_onnx(evaluated(name).model, evaluated(name).truth) == judged(name)[0]


@MODELS
@pytest.mark.slow
def test_agrees_with_ultralytics_own_validation_of_the_file(
    name: str, judged: Callable[[str], Judged], evaluated: Callable[[str], Any], tmp_path: Path
) -> None:
    from ultralytics import YOLO

    result, truth = judged(name)[0], evaluated(name).truth
    images = tuple(truth.image_paths)
    dataset = Dataset(
        root=tmp_path, yaml_path=tmp_path / "data.yaml", names=truth.names, train_images=images, val_images=images
    )
    data = ultralytics_yaml(dataset, tmp_path / "view")  # its loader writes a label cache beside what it is shown
    theirs = YOLO(evaluated(name).model, task="detect").val(
        data=str(data),
        imgsz=320,
        batch=1,
        rect=False,
        plots=False,
        verbose=False,
        project=str(tmp_path),
        device="cpu",
        workers=0,
    )
    assert result.map50_95 == pytest.approx(theirs.box.map, abs=TOLERANCE["ultralytics"])
    assert result.map50 == pytest.approx(theirs.box.map50, abs=TOLERANCE["ultralytics"])


def iter_over(detections: list[Detections]) -> Any:
    """A predict function that plays the detections back in order."""
    remaining = iter(detections)
    return lambda image: next(remaining)


def _annotations(truth: GroundTruth) -> list[dict[str, Any]]:
    return [
        {
            "image_id": image,
            "category_id": int(class_id),
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": 0,
        }
        for image, (boxes, class_ids) in enumerate(zip(truth.boxes, truth.class_ids, strict=True))
        for (x1, y1, x2, y2), class_id in zip(boxes, class_ids, strict=True)
    ]
