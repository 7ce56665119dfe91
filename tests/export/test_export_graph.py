"""Exported files. Oracles: onnx.checker, onnxruntime's outputs against torch's, and Ultralytics' own loader."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from edgegd.plan.profiles import FLOAT, INTEGER
from edgegd.runtime.session import load_model
from edgegd.verify.census import require_planned, take_census
from edgegd.verify.exact_session import load_exact
from edgegd.verify.opened import OnnxFile

FAMILIES = [("yolo26n", True), ("yolo26n", False), ("yolo11n", None), ("yolov8n", None)]
ALL = pytest.mark.parametrize(
    ("architecture", "end2end"), FAMILIES, ids=["yolo26n-end2end", "yolo26n-raw", "yolo11n", "yolov8n"]
)
# Largest difference of a box in pixels or of a score, torch against onnxruntime.
FLOAT_TOLERANCE = 1e-3  # float32 sums in another order
QUANTIZED_TOLERANCE = 1e-4  # the same codes; only the float decoding may differ in the last bits ...
QUANTIZED_SHARE = 0.5  # ... on at least this share of images: a sigmoid of MLAS or the attention may move one code


def _outputs(path, model, images):
    """Pairs (torch, onnxruntime) of outputs; see `_ranked` for end-to-end ones."""
    session = load_exact(path)
    with torch.no_grad():
        pairs = [(model(x).numpy(), session.run(None, {"images": x.numpy()})[0]) for x in images.split(1)]
    return [_ranked(a, b) if a.shape[-1] == 6 else (a, b) for a, b in pairs]


def _ranked(a, b):
    """End-to-end outputs less the rows of the last score, columns sorted: equal scores have no fixed order."""
    last = max(a[0, -1, 4], b[0, -1, 4]) + 1e-4
    a, b = (np.sort(rows[:, rows[0, :, 4] > last], axis=1) for rows in (a, b))
    assert a.shape == b.shape and a.shape[1] > 20
    return a, b


@ALL
def test_float_onnx_equals_torch(exported, images, architecture, end2end):
    one = exported(architecture, end2end)
    for ours, theirs in _outputs(one.fp32, one.model, images):
        assert np.ptp(ours) > 1
        np.testing.assert_allclose(ours, theirs, atol=FLOAT_TOLERANCE, rtol=1e-4)


@ALL
def test_fake_quantized_torch_equals_onnxruntime(exported, images, architecture, end2end):
    one = exported(architecture, end2end)
    differences = [float(np.abs(a - b).max()) for a, b in _outputs(one.ptq, one.quantized, images)]
    exact = np.mean([difference <= QUANTIZED_TOLERANCE for difference in differences])
    assert exact >= QUANTIZED_SHARE, differences


@ALL
@pytest.mark.parametrize("variant", ["fp32", "ptq"])
def test_every_node_is_named_by_the_address_of_its_operation(exported, architecture, end2end, variant):
    one = exported(architecture, end2end)
    nodes = [node for node in onnx.load(getattr(one, variant)).graph.node if node.op_type not in ("Constant", "Cast")]
    names = [node.name for node in nodes]
    assert len(set(names)) == len(names)
    assert {re.split("[/#]", name)[0] for name in names} - set(one.plan.by_address) <= {"input"}
    assert {op.address for op in one.plan.convolutions(FLOAT, INTEGER)} <= {name.split("/")[0] for name in names}


@ALL
def test_quantized_file_is_checked_static_and_stores_integers_only(exported, architecture, end2end):
    one = exported(architecture, end2end)
    proto = onnx.load(one.ptq)
    onnx.checker.check_model(proto, full_check=True)
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", 17)]
    for value in (*proto.graph.input, *proto.graph.output):
        assert all(dim.HasField("dim_value") and dim.dim_value > 0 for dim in value.type.tensor_type.shape.dim)
    constants = {i.name: i for i in proto.graph.initializer}
    made_by = {output: node for node in proto.graph.node for output in node.output}
    convolutions = {node.name: node for node in proto.graph.node if node.op_type == "Conv"}
    assert convolutions.keys() == {op.address for op in one.plan.convolutions("integer", "float")}
    quantized_weights = set()
    for op in one.plan.convolutions("integer"):
        stored = []
        for operand in convolutions[op.address].input[1:]:
            dequantize = made_by[operand]
            assert dequantize.op_type == "DequantizeLinear"
            stored.append(constants[dequantize.input[0]])
        assert [tensor.data_type for tensor in stored] == [TensorProto.INT8, TensorProto.INT32][: len(stored)]
        module = one.model.get_submodule(op.weight)
        codes = numpy_helper.to_array(stored[0]).astype(int)
        assert codes.shape == tuple(module.weight.shape) and np.abs(codes).max((1, 2, 3)).max() == 127
        quantized_weights.add(module.weight.numel())
    float_sizes = {int(np.prod(tensor.dims)) for tensor in constants.values() if tensor.data_type == TensorProto.FLOAT}
    float_weights = {
        one.model.get_submodule(op.address.split(":")[0]).weight.numel() for op in one.plan.convolutions("float")
    }
    large = {size for size in quantized_weights - float_weights if size > 2000}
    assert not large & float_sizes  # no float32 copy of a quantized weight is left
    assert one.ptq.stat().st_size < 0.45 * one.fp32.stat().st_size


@ALL
def test_census_equals_the_plan(exported, architecture, end2end):
    one = exported(architecture, end2end)
    census = take_census(OnnxFile(one.ptq), one.plan)
    assert census.int8_convs == len(one.plan.convolutions("integer")) == census.operators["QLinearConv"]
    assert census.float_convs == census.planned_float_convs == len(one.plan.convolutions("float"))
    assert census.unintended == ()
    require_planned(census, one.plan, "ptq.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["yolo26s", "yolo11s", "yolov8s"])
def test_census_of_the_small_sizes_equals_the_plan(exported, architecture):
    one = exported(architecture, True if architecture == "yolo26s" else None)
    census = take_census(OnnxFile(one.ptq), one.plan)
    require_planned(census, one.plan, architecture)
    assert census.int8_convs == len(one.plan.convolutions("integer"))


@ALL
def test_metadata_has_both_contracts(exported, architecture, end2end):
    one = exported(architecture, end2end)
    for path, variant in ((one.fp32, "fp32"), (one.ptq, "ptq")):
        keys = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
        assert {key: keys[key] for key in ("task", "stride", "batch", "imgsz", "channels", "end2end")} == {
            "task": "detect",
            "stride": "32",
            "batch": "1",
            "imgsz": "[96, 96]",
            "channels": "3",
            "end2end": str(bool(end2end)),
        }
        assert keys["names"] == "{0: 'ant', 1: 'bee', 2: 'cat', 3: 'dog'}"
        _, contract = load_model(path)
        assert contract.variant == variant and contract.output.kind == ("end2end" if end2end else "raw")
        assert contract.plan_sha256 == (one.plan.sha256 if variant == "ptq" else "")
        assert contract.versions.keys() >= {"edgegd", "torch", "ultralytics", "onnx", "onnxruntime"}


@pytest.mark.parametrize("end2end", [True, False], ids=["end2end", "raw"])
def test_ultralytics_predicts_the_same_boxes_from_the_file(exported, pictures: list[Path], end2end):
    from ultralytics import YOLO

    from edgegd.runtime.detector import Detector

    one = exported("yolo26n", end2end)
    picture = cv2.imread(str(pictures[0]))
    (theirs,) = YOLO(one.ptq, task="detect").predict(picture, imgsz=96, conf=0.2, iou=0.7, verbose=False)
    ours = Detector(one.ptq, conf=0.2, iou=0.7)(picture)
    assert len(ours) > 0 and len(theirs.boxes) == len(ours) and theirs.names[3] == "dog"
    np.testing.assert_allclose(np.sort(theirs.boxes.conf.numpy()), np.sort(ours.scores), atol=1e-4)
    np.testing.assert_allclose(np.sort(theirs.boxes.xyxy.numpy(), axis=0), np.sort(ours.xyxy, axis=0), atol=0.05)


@pytest.mark.parametrize("opset", [13, 20])
def test_another_opset_gives_the_same_numbers(exported, images, tmp_path, opset):
    from edgegd.export.graph import build_graph

    one = exported("yolov8n")
    graph = build_graph(one.quantized, 96, opset)
    assert [o.version for o in graph.opset_import] == [opset]
    onnx.save(graph, tmp_path / "other.onnx")
    inputs = {"images": images[:1].numpy()}
    ours, theirs = (load_exact(path).run(None, inputs)[0] for path in (tmp_path / "other.onnx", one.ptq))
    np.testing.assert_array_equal(ours, theirs)


def test_exporting_leaves_the_model_in_training_as_it_was(exported):
    from edgegd.export.graph import build_graph

    one = exported("yolov8n")
    one.quantized.train()
    build_graph(one.quantized, 96, 17)
    assert one.quantized.training and one.quantized.model.training
    one.quantized.eval()


def test_convolutions_with_equal_weights_keep_their_own_names_and_values(exported, images):
    """The exporter merges equal parameters; class biases of `exported` are equal, two weights are made so here."""
    import copy

    from edgegd.export.graph import build_graph

    one = exported("yolov8n")
    twins = copy.deepcopy(one.quantized)
    block = twins.model.model[2].m[0]
    with torch.no_grad():
        block.cv2.conv.weight.copy_(block.cv1.conv.weight)
    twins.follow_weights()
    graph = build_graph(twins, 96, 17)
    names = [node.name for node in graph.graph.node if node.op_type == "Conv"]
    assert len(set(names)) == len(names) == 64
    assert not [node for node in graph.graph.node if node.op_type == "Identity"]
