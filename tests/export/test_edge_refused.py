"""Checks that feed torch and onnxruntime the same float32 image refuse an edge file and name its portable one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from edgegd.errors import OutputContractError
from edgegd.runtime.contract import ModelContract, OutputContract, Preprocessing
from edgegd.verify.ladder import climb
from edgegd.verify.opened import OnnxFile, Pictures
from edgegd.verify.parity import measure_parity
from edgegd.verify.verification import compare_unoptimized


@pytest.fixture
def edge_file(tmp_path: Path) -> Path:
    """A file with an edge file's input and contract, and a constant output."""
    helper, image = onnx.helper, Preprocessing.of_pixels(Preprocessing((32, 32)), 4)
    nodes = [
        helper.make_node("Shape", ["images"], ["size"], start=0, end=1),
        helper.make_node("Cast", ["size"], ["one"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["fixed", "one"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "edge",
        [helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, image.input_shape)],
        [helper.make_tensor_value_info("output0", onnx.TensorProto.FLOAT, (1, 1, 6))],
        [onnx.numpy_helper.from_array(np.ones((1, 1, 6), np.float32), "fixed")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    contract = ModelContract(image, OutputContract("end2end", (1, 1, 6)), ("car",), 32, portable="qat.onnx")
    helper.set_model_props(model, contract.to_metadata())
    onnx.save(model, tmp_path / "qat.edge.onnx")
    return tmp_path / "qat.edge.onnx"


@pytest.mark.parametrize(
    "check",
    [
        lambda path: measure_parity(torch.nn.Conv2d(3, 3, 1), OnnxFile(path), Pictures([])),
        lambda path: climb(Any, OnnxFile(path), Pictures([])),
        lambda path: compare_unoptimized(OnnxFile(path), OnnxFile(path), Pictures([]), Any),
    ],
    ids=["parity", "ladder", "unoptimized"],
)
def test_an_edge_file_is_refused(check: Callable[[Path], Any], edge_file: Path) -> None:
    with pytest.raises(OutputContractError, match=r"qat\.edge\.onnx is an edge file(.|\n)*qat\.onnx"):
        check(edge_file)
