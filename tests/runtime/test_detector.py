"""Oracles: boxes worked out by hand on models of fixed output, and Ultralytics' own prediction on the same file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgegd.errors import OutputContractError
from edgegd.runtime.contract import ModelContract, OutputContract, Preprocessing
from edgegd.runtime.detector import Detector, detections_from_output
from edgegd.runtime.images import read_image
from edgegd.runtime.letterbox import LetterboxGeometry

NAMES = ("car", "sign")
IMAGE = np.zeros((32, 64, 3), np.uint8)  # in a 64 x 64 network: gain 1, 16 pixels of border above and below
SaveModel = Callable[..., Path]


def contract(kind: str, shape: tuple[int, ...]) -> ModelContract:
    return ModelContract(Preprocessing((64, 64)), OutputContract(kind, shape), NAMES, 32)


def test_end2end_rows_become_boxes_in_image_pixels(save_model: SaveModel) -> None:
    output = np.array([[[10, 20, 30, 40, 0.9, 1], [-5, 0, 70, 60, 0.5, 0], [1, 17, 2, 18, 0.2, 0]]], np.float32)
    found = Detector(save_model(contract("end2end", (1, 3, 6)), output))(IMAGE)
    assert found.xyxy.tolist() == [[10, 4, 30, 24], [0, 0, 64, 32]]
    assert (found.xyxy.dtype, found.scores.dtype, found.class_ids.dtype) == (np.float32, np.float32, np.int64)
    assert json.loads(json.dumps(found.to_dict()))["detections"][0]["name"] == "sign"


def test_query_rows_become_boxes_in_image_pixels(save_model: SaveModel) -> None:
    wide = ModelContract(Preprocessing((32, 64)), OutputContract("queries", (1, 2, 6)), NAMES, 32)
    output = np.array([[[0.5, 0.25, 0.25, 0.5, 0.9, 1], [0.5, 0.5, 1, 1, 0.2, 0]]], np.float32)
    found = Detector(save_model(wide, output))(IMAGE)  # fractions of 64 px in width, 32 px in height
    assert found.xyxy.tolist() == [[24, 0, 40, 16]]
    assert (found.class_ids.tolist(), found.scores.tolist()) == ([1], [pytest.approx(0.9)])


def test_raw_columns_are_suppressed_by_class(save_model: SaveModel) -> None:
    columns = [[20, 30, 20, 20, 0.9, 0.3], [20, 30, 20, 19, 0.8, 0.1], [20, 30, 20, 20, 0.1, 0.7]]
    path = save_model(contract("raw", (1, 6, 3)), np.array(columns, np.float32).T[None])
    found = Detector(path)(IMAGE)
    assert found.scores.tolist() == pytest.approx([0.9, 0.7])
    assert found.class_ids.tolist() == [0, 1]
    assert found.xyxy[0].tolist() == [10, 4, 30, 24]
    assert len(Detector(path, max_det=1)(IMAGE)) == 1
    assert len(Detector(path, iou=0.99)(IMAGE)) == 3
    # one box may carry both classes: column 0 as a sign (0.3) falls to column 2 (0.7), column 2 as a car is below conf
    assert len(Detector(path, iou=1.0, multi_label=True)(IMAGE)) == 4


def test_an_output_of_another_shape_is_refused() -> None:
    geometry = LetterboxGeometry.fit((32, 64), (64, 64))
    with pytest.raises(OutputContractError, match=r"\(1, 3, 6\)"):
        detections_from_output(np.zeros((1, 2, 6), np.float32), contract("end2end", (1, 3, 6)), geometry)


def mean_color_model(path: Path, preprocessing: Preprocessing) -> Path:
    """A file that finds one box: its corners are the mean red, green and blue, and the blue of the pixel (40, 3)."""
    helper, pixels = onnx.helper, preprocessing.takes_pixels
    area, channel = ([1, 2], 3) if pixels else ([2, 3], 1)
    first, last, step = (2, -5, -1) if pixels else (0, 3, 1)  # BGR[X] or RGB
    numbers = {
        "factor": np.float32(1 if pixels else 255),
        "rest": np.array([[0.9, 0]], np.float32),
        "from": np.array([first]),
        "to": np.array([last]),
        "step": np.array([step]),
        "axis": np.array([channel]),
        "whole": np.array([1, 1, 6]),
        "corner": np.array([40, 3]),
        "corner_end": np.array([41, 4]),
        "area": np.array(area),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["values"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["values", "factor"], ["scaled"]),
        helper.make_node("Slice", ["scaled", "from", "to", "axis", "step"], ["rgb"]),
        helper.make_node("ReduceMean", ["rgb"], ["means"], axes=area, keepdims=0),
        helper.make_node("Slice", ["rgb", "corner", "corner_end", "area"], ["pixel"]),
        helper.make_node("ReduceMean", ["pixel"], ["pixel_means"], axes=area, keepdims=0),
        helper.make_node("Gather", ["pixel_means", "two"], ["blue"], axis=1),
        helper.make_node("Concat", ["means", "blue", "rest"], ["row"], axis=1),
        helper.make_node("Reshape", ["row", "whole"], ["output0"]),
    ]
    arrays = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in numbers.items()]
    image_type = onnx.TensorProto.UINT8 if pixels else onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "colors",
        [helper.make_tensor_value_info("images", image_type, preprocessing.input_shape)],
        [helper.make_tensor_value_info("output0", onnx.TensorProto.FLOAT, (1, 1, 6))],
        [*arrays, onnx.numpy_helper.from_array(np.array([2]), "two")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    portable = "portable.onnx" if pixels else ""
    promised = ModelContract(preprocessing, OutputContract("end2end", (1, 1, 6)), NAMES, 32, portable=portable)
    helper.set_model_props(model, promised.to_metadata())
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("channels", [3, 4])
def test_an_edge_file_sees_the_image_that_its_portable_file_sees(tmp_path: Path, channels: int) -> None:
    portable = Preprocessing((64, 64))
    one = Detector(mean_color_model(tmp_path / "portable.onnx", portable), clip=False)
    edge = Preprocessing.of_pixels(portable, channels)
    other = Detector(mean_color_model(tmp_path / "edge.onnx", edge), clip=False)
    random = np.random.default_rng(0)
    for height, width in ((64, 64), (90, 30), (33, 150)):  # the border moves between calls
        image = random.integers(0, 256, (height, width, 3), dtype=np.uint8) // np.array([1, 2, 4], np.uint8)
        expected, found = one(image).xyxy, other(image).xyxy
        assert len(expected) == 1 and np.ptp(expected) > 10
        np.testing.assert_allclose(found, expected, rtol=1e-5)  # the same pixels; a mean in float32 differs


class SlowSession:
    """A session that sleeps before it answers."""

    def __init__(self, session: Any, seconds: float) -> None:
        self._session, self._seconds = session, seconds

    def run(self, *arguments: Any) -> Any:
        time.sleep(self._seconds)
        return self._session.run(*arguments)


def test_timings_tell_the_steps_apart(save_model: SaveModel) -> None:
    detector = Detector(save_model(contract("end2end", (1, 1, 6)), np.array([[[10, 20, 30, 40, 0.9, 1]]], np.float32)))
    detector.session = SlowSession(detector.session, 0.05)
    start = time.perf_counter()
    found, timings = detector.timed(IMAGE)
    whole_ms = (time.perf_counter() - start) * 1e3
    assert found.xyxy.tolist() == detector(IMAGE).xyxy.tolist() == [[10, 4, 30, 24]]
    assert timings.inference_ms >= 50
    assert min(timings.letterbox_ms, timings.postprocess_ms) > 0
    assert timings.letterbox_ms + timings.postprocess_ms + timings.inference_ms <= whole_ms


@pytest.mark.slow
def test_equals_ultralytics_prediction_on_real_images(shipped_onnx: Path, bccd_images: tuple[Path, ...]) -> None:
    from ultralytics import YOLO

    conf = 0.01  # the model was trained on drawn scenes: of photographs it is not sure
    detector, yolo, boxes = Detector(shipped_onnx, conf=conf, threads=2), YOLO(shipped_onnx, task="detect"), 0
    for path in bccd_images:
        found = detector(read_image(path))
        expected = yolo.predict(path, imgsz=320, conf=conf, iou=0.7, verbose=False)[0].boxes
        assert found.class_ids.tolist() == expected.cls.int().tolist()
        # the inputs are bit-identical; onnxruntime's thread count may change the order of a sum, nothing else
        np.testing.assert_allclose(found.xyxy, expected.xyxy.numpy(), atol=1e-3)
        np.testing.assert_allclose(found.scores, expected.conf.numpy(), atol=1e-5)
        boxes += len(found)
    assert boxes > 10 * len(bccd_images)
