"""Portable files for every profile, and small graphs of integer operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgegd.export.graph_forms import has_signed_activations
from edgegd.export.profile import for_profile
from edgegd.verify.exact_session import exact_form

Run = Callable[[onnx.ModelProto, Mapping[str, np.ndarray]], np.ndarray]


@pytest.fixture(scope="session")
def portable(
    exported: Any, write: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., onnx.ModelProto]:
    """portable(profile, architecture="yolo26n", end2end=True): a calibrated Q/DQ file."""
    folder = tmp_path_factory.mktemp("portable")

    @cache
    def make(profile: str, architecture: str = "yolo26n", end2end: bool | None = True) -> onnx.ModelProto:
        one = exported(architecture, end2end)
        model = for_profile(one.quantized, profile)
        path = write(folder / f"{profile}-{architecture}-{end2end}.onnx", model, one.model, model.plan, "ptq")
        return onnx.load(path)

    return make


@pytest.fixture(scope="session")
def run() -> Run:
    """run(model, feeds): the first output of the optimized exact session; int8 activations are fused on x86 too."""

    def call(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.qdqisint8allowed", "1")
        exact = model if has_signed_activations(model) else exact_form(model)
        session = onnxruntime.InferenceSession(exact.SerializeToString(), options, ["CPUExecutionProvider"])
        output: np.ndarray = session.run(None, dict(feeds))[0]
        return output

    return call


@pytest.fixture(scope="session")
def small_graph() -> Callable[..., onnx.ModelProto]:
    """small_graph(nodes, shape, **constants): a model of uint8 input `x` of that shape and output `y`."""

    def make(nodes: Sequence[onnx.NodeProto], shape: Sequence[int], **constants: np.ndarray) -> onnx.ModelProto:
        graph = helper.make_graph(
            list(nodes),
            "small",
            [helper.make_tensor_value_info("x", TensorProto.UINT8, shape)],
            [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    return make
