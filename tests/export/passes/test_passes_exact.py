"""Every pass on whole detectors. Oracle: the optimized session of the graph as it was before the pass, bit for bit."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from edgegd.export.edge import PASS_NAMES, build_edge
from edgegd.export.passes import FoldColumns
from edgegd.plan.profiles import TABLES

CASES = [("yolo26n", True), ("yolo26n", False), ("yolo11n", None), ("yolov8n", None)]
IDS = ["yolo26n-end2end", "yolo26n-raw", "yolo11n", "yolov8n"]


def _feeds(model, pixels):
    """The same picture (H, W, 3) uint8 BGR for a portable file or an edge file."""
    if model.graph.input[0].type.tensor_type.elem_type == 1:
        planes = np.ascontiguousarray(pixels[:, :, ::-1].transpose(2, 0, 1)[None])
        return {"images": planes.astype(np.float32) / np.float32(255)}
    channels = model.graph.input[0].type.tensor_type.shape.dim[3].dim_value
    wide = np.concatenate([pixels, np.full_like(pixels, 77)], 2)[None, :, :, :channels]
    return {"images": np.ascontiguousarray(wide)}


@pytest.fixture(scope="module")
def pixels(images):
    """A picture and noise, both (96, 96, 3) uint8 BGR."""
    picture = (images[0].numpy().transpose(1, 2, 0)[:, :, ::-1] * 255).round().astype(np.uint8)
    return [picture, np.random.default_rng(0).integers(0, 256, picture.shape, dtype=np.uint8)]


def _operators(model):
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.slow
@pytest.mark.parametrize("profile", TABLES)
def test_every_pass_is_exact_on_every_profile(portable, run, pixels, profile):
    model = portable(profile)
    expected = [run(model, _feeds(model, picture)) for picture in pixels]
    assert all(len(np.unique(output)) > 100 for output in expected)  # a model that says something
    for last, name in enumerate(PASS_NAMES):
        after, reports = build_edge(model, "ptq.onnx", without=PASS_NAMES[last + 1 :], slower_too=True)
        assert reports[-1].name == name and reports[-1].applied
        for picture, output in zip(pixels, expected, strict=True):
            found = run(after, _feeds(after, picture))
            np.testing.assert_array_equal(output.view(np.uint32), found.view(np.uint32), err_msg=name)


@pytest.mark.parametrize("profile", TABLES)
@pytest.mark.parametrize(("architecture", "end2end"), CASES, ids=IDS)
def test_the_edge_file_is_exact(portable, run, pixels, profile, architecture, end2end):
    model = portable(profile, architecture, end2end)
    for channels in (3, 4):
        edge, _ = build_edge(model, "ptq.onnx", channels=channels)
        for picture in pixels:
            expected, found = run(model, _feeds(model, picture)), run(edge, _feeds(edge, picture))
            np.testing.assert_array_equal(expected.view(np.uint32), found.view(np.uint32))


@pytest.mark.parametrize(("architecture", "end2end"), CASES, ids=IDS)
def test_what_the_edge_file_is_made_of(portable, architecture, end2end):
    model = portable("x86-vnni", architecture, end2end)
    edge, reports = build_edge(model, "ptq.onnx")
    made_by = {output: node for node in model.graph.node for output in node.output}
    integer = [
        node
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and getattr(made_by.get(node.input[0]), "op_type", "") == "Conv"
    ]
    operators = _operators(edge)
    assert operators["QLinearConv"] == len(integer) > 50
    assert operators["Conv"] == _operators(model)["Conv"] - len(integer)
    assert operators["Resize"] == 0
    for node in edge.graph.node:
        if node.op_type == "QLinearConv":
            assert [a.i for a in node.attribute if a.name == "channels_last"] == [1], node.name
    (image,) = edge.graph.input
    assert not any(n.op_type in ("QuantizeLinear", "Transpose") and image.name in n.input for n in edge.graph.node)
    assert [report.name for report in reports] == list(PASS_NAMES)
    late = next(report for report in reports if report.name == "late-decoding")
    assert bool(late.applied) == (end2end is True)
    assert late.applied or late.refused == (("output0", "the head is not end-to-end: NMS needs every anchor"),)


def test_a_pass_that_was_measured_to_be_slower_is_refused_for_that_profile_alone(portable):
    for profile in TABLES:
        edge, reports = build_edge(portable(profile), "ptq.onnx")
        folded = next(report for report in reports if report.name == "fold-columns")
        assert [report.name for report in reports] == list(PASS_NAMES)
        if profile in FoldColumns.slower_on:
            ((place, reason),) = folded.refused
            assert place == "the whole file" and "benchmarks/results/" in reason
            everything, _ = build_edge(portable(profile), "ptq.onnx", slower_too=True)
            assert not folded.applied and _operators(edge) != _operators(everything)
        else:
            assert folded.applied
    assert set(FoldColumns.slower_on) == {"x86-avx2", "arm64-nodot"}


def test_fewer_columns_are_folded_where_the_matrix_product_pads_to_16(portable):
    widths = {}
    for profile in ("x86-vnni", "arm64"):
        edge, _ = build_edge(portable(profile), "ptq.onnx")
        weights = {stored.name: stored.dims for stored in edge.graph.initializer if "/columns" in stored.name}
        widths[profile] = sorted(dims[0] for dims in weights.values() if len(dims) == 4)
    assert max(widths["x86-vnni"]) == 64 and set(widths["arm64"]) == {16, 32}
    assert len(widths["x86-vnni"]) > len(widths["arm64"]) == 2  # the stem and one convolution of 8 channels


def test_late_decoding_gathers_before_it_computes(portable):
    edge, _ = build_edge(portable("x86-vnni"), "ptq.onnx")
    makers = {output: node for node in edge.graph.node for output in node.output}
    sigmoids = [makers[node.input[0]] for node in edge.graph.node if node.op_type == "Sigmoid"]
    assert sorted(node.op_type for node in sigmoids) == ["Concat", "Mul"]  # best score an anchor; rows of the chosen
    scaled = next(node for node in sigmoids if node.op_type == "Mul")
    shifted = makers[scaled.input[0]]
    assert [shifted.op_type, makers[shifted.input[0]].op_type] == ["Sub", "Cast"]
    assert makers[makers[shifted.input[0]].input[0]].op_type == "Gather"


def test_an_unknown_pass_is_named(portable):
    with pytest.raises(ValueError, match="no such pass: fold-rows; there are fold-constants"):
        build_edge(portable("x86-vnni"), "ptq.onnx", without=["fold-rows"])


def test_metadata_tells_of_the_input_and_the_portable_file(portable):
    from edgegd.runtime.contract import ModelContract

    edge, _ = build_edge(portable("x86-vnni"), "ptq.onnx", channels=4)
    contract = ModelContract.from_metadata({p.key: p.value for p in edge.metadata_props})
    assert contract.portable == "ptq.onnx" and contract.preprocessing.input_shape == (1, 96, 96, 4)
    assert contract.preprocessing.channel_order == "bgr" and contract.preprocessing.scale == 1.0


def test_yolo_refuses_an_edge_file_by_the_name_of_the_portable_one(portable, tmp_path):
    import onnx
    from ultralytics import YOLO

    edge, _ = build_edge(portable("x86-vnni"), "mine.onnx")
    onnx.save(edge, tmp_path / "mine.edge.onnx")
    with pytest.raises(ValueError, match=r"give YOLO\(\) the portable mine\.onnx"):
        YOLO(tmp_path / "mine.edge.onnx", task="detect").predict(np.zeros((96, 96, 3), np.uint8), imgsz=96)
