"""Movements that torch's exporter joins or leaves out: every planned tensor is in the file. Oracle: torch."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgegd.addresses import codes_name
from edgegd.export.float_graph import float_graph
from edgegd.export.graph import build_graph
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate
from edgegd.quant.plan_module import plan_module
from edgegd.verify.opened import OnnxFile

MOVEMENTS = {
    "joined-transposes": lambda y: y.transpose(1, 2).permute(0, 2, 1, 3),
    "transposes-that-cancel": lambda y: y.transpose(2, 3).transpose(2, 3),
    "a-slice-of-everything": lambda y: y[:, :],
    "a-reshape-to-the-same": lambda y: y.reshape(y.shape),
    "an-expansion-to-the-same": lambda y: y.expand(-1, -1, -1, -1),
    "a-reshape-and-back": lambda y: y.flatten(2).view(y.shape),
}


class Moving(nn.Module):
    """Two convolutions and movements between them; with `last`, a movement of the result too."""

    def __init__(self, movement, last=False):
        super().__init__()
        self.movement, self.last = movement, last
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)

    def forward(self, image):
        y = self.b(self.movement(self.a(image)))
        return self.movement(y) if self.last else y


@pytest.mark.parametrize("last", [False, True], ids=["inside", "last-too"])
@pytest.mark.parametrize("movement", MOVEMENTS.values(), ids=MOVEMENTS)
def test_every_planned_tensor_is_in_the_file_and_has_torchs_values(movement, last, tmp_path):
    torch.manual_seed(0)
    model, images = Moving(movement, last).eval(), torch.rand(2, 3, 6, 6)
    quantized = QuantizedModel(model, plan_module(model, images[:1], "x86-vnni")).eval()
    calibrate(quantized, [images], "minmax")
    graph = build_graph(quantized, 6, 17)
    assert [output.name for output in graph.graph.output] == ["output0"]
    made = {name for node in graph.graph.node for name in node.output}
    assert {codes_name(tensor.address) for tensor in quantized.plan.tensors} <= made
    path = tmp_path / "model.onnx"
    onnx.save(graph, path)
    (found, *_) = OnnxFile(path).exact.run(None, {"images": images[:1].numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, quantized(images[:1]).numpy(), atol=1e-5)
        onnx.save(float_graph(model, 6, 17), path)
        (found,) = OnnxFile(path).session.run(None, {"images": images[:1].numpy()})
        np.testing.assert_allclose(found, model(images[:1]).numpy(), atol=1e-5)
    assert "Max" not in {node.op_type for node in onnx.load(path).graph.node}
