"""Small ONNX models of known relative cost: a chain of matrix products."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

MakeModel = Callable[..., Path]


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    """make_model(name, products=1, dtype="float32", shape=(1, 64)) -> path of an ONNX file."""
    onnx = pytest.importorskip("onnx", reason="the models of these tests are built with the onnx package")
    folder = tmp_path_factory.mktemp("models")

    def make(name: str, products: int = 1, dtype: str = "float32", shape: tuple[int | str, ...] = (1, 64)) -> Path:
        helper = onnx.helper
        elements = onnx.TensorProto.FLOAT if dtype == "float32" else onnx.TensorProto.UINT8
        nodes = [helper.make_node("Cast", ["images"], ["x0"], to=onnx.TensorProto.FLOAT)]
        nodes += [helper.make_node("MatMul", [f"x{i}", "weights"], [f"x{i + 1}"]) for i in range(products)]
        width = 64
        weights = onnx.numpy_helper.from_array(np.eye(width, dtype=np.float32) * 0.5, "weights")
        images = helper.make_tensor_value_info("images", elements, shape)
        output = helper.make_tensor_value_info(f"x{products}", onnx.TensorProto.FLOAT, shape)
        graph = helper.make_graph(nodes, name, [images], [output], [weights])
        path = folder / f"{name}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path

    return make
