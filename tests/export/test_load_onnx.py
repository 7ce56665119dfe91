"""An ONNX file is opened whole, or refused in one error that names it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgegd.errors import OnnxUnreadableError
from edgegd.export.load_onnx import load_onnx


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """A file of one addition."""
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("a", "c")]
    weight = numpy_helper.from_array(np.ones(2, np.float32), "b")
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "sum", sides[:1], sides[1:], [weight])
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def _outside(path: Path, location: str, offset: str) -> None:
    model = onnx.load(path)
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", "8")):
        weight.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def test_a_whole_file_is_read(model_file: Path) -> None:
    assert [node.op_type for node in load_onnx(model_file).graph.node] == ["Add"]


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), id="git-lfs"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:30]), id="cut"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: path.unlink(), id="missing"),
        pytest.param(lambda path: _outside(path, "weights.bin", "0"), id="weights-that-are-not-there"),
        pytest.param(lambda path: _outside(path, "/etc/passwd", "-1"), id="a-negative-offset"),
        pytest.param(lambda path: _outside(path, "../../etc/passwd", "0"), id="another-file"),
        pytest.param(_pipe, id="pipe"),
    ],
)
def test_anything_else_is_one_error_that_names_the_file(spoil: Callable[[Path], object], model_file: Path) -> None:
    spoil(model_file)
    with pytest.raises(OnnxUnreadableError, match=r"model\.onnx"):
        load_onnx(model_file)
