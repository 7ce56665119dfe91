"""Exact sessions: any CPU computes what the CPUs of a file's profile compute. Oracle: whole-number sums in numpy."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from multiplications import CASES, OPERATORS, convolution

from edgegd.device.profile import Machine
from edgegd.export.graph_forms import constants, largest_weight_code, with_unsigned_weights
from edgegd.verify import exact_session, proof
from edgegd.verify.exact_session import exact_form, load_exact
from edgegd.verify.optimized_graph import load_with_graph

OTHER_PRODUCTS = {"QLinearMatMul", "QGemm", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QAttention"}


@pytest.fixture
def on_avx2(monkeypatch):
    """This machine as if it were x86 without VNNI."""
    monkeypatch.setattr(exact_session, "this_machine", lambda: Machine("an AVX2 CPU", "x86-avx2"))


@pytest.mark.parametrize("name", CASES)
def test_an_exact_session_sums_as_numpy_on_this_cpu(name):
    case = CASES[name]()
    np.testing.assert_array_equal(load_exact(case.model).run(None, {"x": case.x})[0], case.expected)


@pytest.mark.parametrize("name", CASES)
def test_uint8_weights_are_the_same_numbers(name, on_avx2):
    case = CASES[name]()
    form = exact_form(case.model)
    assert largest_weight_code(case.model) in (0, 127) and largest_weight_code(form) == 0  # no int8 weight is left
    session = onnxruntime.InferenceSession(form.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"x": case.x})[0], case.expected)


def test_only_a_cpu_that_saturates_gets_another_form(monkeypatch, on_avx2):
    eight, seven = convolution(3).model, convolution(3).model
    (weights,) = [t for t in seven.graph.initializer if t.name == "w"]
    weights.CopyFrom(onnx.numpy_helper.from_array(constants(seven.graph)["w"] // 2, "w"))
    assert exact_form(eight) is not eight and exact_form(seven) is seven
    for profile in ("x86-vnni", "arm64", "arm64-nodot", None):
        monkeypatch.setattr(exact_session, "this_machine", lambda profile=profile: Machine("a CPU", profile))
        assert exact_form(eight) is eight


def test_weights_without_a_zero_point_are_refused():
    node = onnx.helper.make_node("MatMulInteger", ["x", "w"], ["y"], name="product")
    weights = onnx.numpy_helper.from_array(np.ones((4, 4), np.int8), "w")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node], "g", [value("x", onnx.TensorProto.UINT8, [1, 4])], [value("y", onnx.TensorProto.INT32, None)], [weights]
    )
    with pytest.raises(ValueError, match="product has int8 weights without a zero point"):
        with_unsigned_weights(onnx.helper.make_model(graph))


@pytest.mark.parametrize(("architecture", "end2end"), [("yolo26n", True), ("yolov8n", None)])
def test_the_list_of_multiplying_operators_is_that_of_our_files(exported, architecture, end2end):
    kinds = {node.op_type for node in load_with_graph(exported(architecture, end2end).ptq)[1].graph.node}
    assert "QLinearConv" in kinds and not kinds & (OTHER_PRODUCTS - OPERATORS)


def test_a_whole_file_and_its_edge_file_give_the_same_bits_in_uint8_form(exported, images, on_avx2):
    from edgegd.export.edge import build_edge

    portable = onnx.load(exported("yolo26n", True).ptq)
    edge = build_edge(portable, "ptq.onnx", without=["uint8-input"])[0]
    x = {"images": images[:1].numpy()}
    results = []
    for model in (portable, edge):
        form = exact_form(model)
        assert form is not model and largest_weight_code(form) == 0
        session = onnxruntime.InferenceSession(form.SerializeToString(), providers=["CPUExecutionProvider"])
        results.append(session.run(None, x)[0])
    np.testing.assert_array_equal(*results)
    np.testing.assert_array_equal(results[0], load_exact(portable).run(None, x)[0])


@pytest.mark.parametrize(
    ("profile", "machine", "arithmetic", "left"),
    [
        ("x86-vnni", "x86-vnni", "own kernels", False),
        ("x86-vnni", "x86-avx2", "exact sessions", True),
        ("x86-avx2", "x86-avx2", "own kernels", False),
        ("x86-avx2", "x86-vnni", "own kernels", True),
        ("arm64", "x86-avx2", "exact sessions (weights as uint8) on the uint8 form", True),
        ("arm64", "x86-vnni", "own kernels on the uint8 form", True),
        ("arm64", "arm64", "own kernels", False),
        ("arm64", "arm64-nodot", "this CPU's own kernels", True),
        ("arm64-nodot", "arm64", "own kernels", True),
        ("arm64-nodot", "x86-avx2", "exact sessions (weights as uint8)", True),
        ("x86-vnni", "arm64", "own kernels", True),
        ("x86-vnni", None, "own kernels", True),
    ],
)
def test_what_is_proved_where_is_said(profile, machine, arithmetic, left, monkeypatch):
    monkeypatch.setattr(proof, "this_machine", lambda: Machine("a CPU", machine))
    found = proof.proof_here(profile)
    assert arithmetic in found.arithmetic and bool(found.not_proved) == left
    assert ("uint8 form" in found.arithmetic) == ("uint8 form" in arithmetic)
    assert all(profile in what for what in found.not_proved)
