"""Verification must fail on broken files. Oracle: the damage done here by hand."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from edgegd.errors import CensusError, ParityError, SilentModelError
from edgegd.runtime.detector import Detections
from edgegd.verify.census import require_planned, take_census
from edgegd.verify.opened import OnnxFile, Pictures
from edgegd.verify.parity import match_detections, measure_parity, require_parity


def test_a_convolution_without_its_quantizers_is_named_with_its_rule(exported, tmp_path):
    one = exported("yolov8n")
    proto = onnx.load(one.ptq)
    address = "model.4.m.0.cv1.conv:conv2d:0"
    (convolution,) = [node for node in proto.graph.node if node.name == address]
    readers = [n for n in proto.graph.node if convolution.output[0] in n.input]
    assert [node.op_type for node in readers] == ["QuantizeLinear"]
    (dequantize,) = [n for n in proto.graph.node if readers[0].output[0] in n.input]
    for node in proto.graph.node:  # the readers of the pair now read the convolution itself
        for index, name in enumerate(node.input):
            if name == dequantize.output[0]:
                node.input[index] = convolution.output[0]
    proto.graph.node.remove(readers[0])
    proto.graph.node.remove(dequantize)
    onnx.save(proto, tmp_path / "broken.onnx")
    census = take_census(OnnxFile(tmp_path / "broken.onnx"), one.plan)
    assert census.unintended == (address,)
    with pytest.raises(CensusError) as caught:
        require_planned(census, one.plan, "broken.onnx")
    assert all(text in str(caught.value) for text in (address, "rule convolution", "broken.onnx"))
    assert caught.value.exit_code == 70


def test_a_float_file_fails_the_census(exported):
    one = exported("yolov8n")
    census = take_census(OnnxFile(one.fp32), one.plan)
    assert census.int8_convs == 0 and len(census.unintended) == 60
    with pytest.raises(CensusError):
        require_planned(census, one.plan, "fp32.onnx")


@pytest.mark.parametrize("end2end", [True, False], ids=["end2end", "raw"])
def test_the_right_file_is_in_parity(exported, pictures, end2end):
    one = exported("yolo26n", end2end)
    for path, model in ((one.fp32, one.model), (one.ptq, one.quantized)):
        parity = measure_parity(model, OnnxFile(path), Pictures(pictures))
        require_parity(parity, path.name)
        assert parity.images == 4 and parity.detections > 20 and parity.best_score > 0.05


def test_a_model_of_zero_scores_is_silent(exported, write, pictures, tmp_path):
    one = exported("yolov8n")
    silent = copy.deepcopy(one.model)
    with torch.no_grad():
        for branch in silent.model[-1].cv3:
            branch[-1].bias.fill_(-1e4)
    path = write(tmp_path / "silent.onnx", silent, silent, one.plan, "fp32")
    with pytest.raises(SilentModelError, match="detects nothing") as caught:
        require_parity(measure_parity(one.model, OnnxFile(path), Pictures(pictures)), path.name)
    assert caught.value.exit_code == 72


def test_a_file_of_other_weights_is_not_in_parity(exported, pictures, tmp_path):
    one = exported("yolov8n")
    proto = onnx.load(one.ptq)
    random = np.random.default_rng(0)
    for tensor in proto.graph.initializer:
        if tensor.name.endswith("/weight_int8"):
            codes = numpy_helper.to_array(tensor).astype(int)
            codes = np.clip(codes + random.integers(-25, 26, codes.shape), -127, 127).astype(np.int8)
            tensor.CopyFrom(numpy_helper.from_array(codes, tensor.name))
    onnx.save(proto, tmp_path / "other.onnx")
    with pytest.raises(ParityError, match="disagree") as caught:
        require_parity(
            measure_parity(one.quantized, OnnxFile(tmp_path / "other.onnx"), Pictures(pictures)), "other.onnx"
        )
    assert caught.value.exit_code == 71


def _detections(*rows):
    boxes = np.array([row[:4] for row in rows], np.float32).reshape(-1, 4)
    return Detections(boxes, np.array([r[4] for r in rows], np.float32), np.array([r[5] for r in rows]), ("a", "b"))


def test_detections_are_paired_by_class_and_place_once_each():
    one = _detections((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 10, 0.8, 0), (50, 50, 60, 60, 0.7, 1))
    other = _detections((1, 0, 10, 10, 0.7, 0), (50, 50, 60, 60, 0.7, 0), (100, 100, 120, 120, 0.5, 1))
    pairs = match_detections(one, other)
    assert pairs.total == 3
    assert pairs.shift_px.tolist() == [1.0] and pairs.score_change.tolist() == pytest.approx([0.2])
    assert match_detections(_detections(), other).total == 0
