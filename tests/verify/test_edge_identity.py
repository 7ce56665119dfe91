"""The check of an edge file against its portable file. Oracle: an edge file in which one weight was changed."""

from __future__ import annotations

import onnx
import pytest
from onnx import numpy_helper

from edgegd.errors import ParityError
from edgegd.export.edge import build_edge
from edgegd.verify.edge_identity import require_identical
from edgegd.verify.opened import OnnxFile, Pictures


def test_an_edge_file_that_computes_something_else_is_refused(exported, pictures, tmp_path):
    one = exported("yolo26n", True)
    edge, path = build_edge(onnx.load(one.ptq), one.ptq.name)[0], tmp_path / "ptq.edge.onnx"
    onnx.save(edge, path)
    identity = require_identical(OnnxFile(one.ptq), OnnxFile(path), Pictures(pictures))
    assert identity.images == len(pictures) and identity.numbers > 1000
    (weight,) = [t for t in edge.graph.initializer if t.name == "model.3.conv:conv2d:0/weight_int8"]
    weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), weight.name))
    onnx.save(edge, path)
    with pytest.raises(ParityError, match=r"ptq\.edge\.onnx computes other numbers than ptq\.onnx on 0\.png"):
        require_identical(OnnxFile(one.ptq), OnnxFile(path), Pictures(pictures))
