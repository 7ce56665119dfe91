"""The ONNX graph of a model in torch: the addressed float graph, or the portable Q/DQ graph made from it by passes."""

from __future__ import annotations

import onnx
import torch

from edgegd.export.float_graph import float_graph
from edgegd.export.insert.quantized_graph import quantized_graph
from edgegd.network_size import NetworkSize
from edgegd.plan.quantized_state import QuantizedState, state_from_arrays
from edgegd.quant.attach import QuantizedModel


def build_graph(model: torch.nn.Module, imgsz: int | NetworkSize, opset: int) -> onnx.ModelProto:
    """The finished graph, without a contract: Q/DQ with integer constants for a QuantizedModel, float otherwise.

    Raises UnsupportedModelError where torch cannot export the model, InsertionError where its plan cannot be written.
    """
    if not isinstance(model, QuantizedModel):
        return float_graph(model, imgsz, opset)
    return quantized_graph(float_graph(model.model, imgsz, opset), model.plan, state_of(model))


def state_of(quantized: QuantizedModel) -> QuantizedState:
    """The weights and ranges of a model in torch, as arrays that share its memory where it is on the CPU."""
    arrays = {name: value.detach().cpu().numpy() for name, value in quantized.state_dict().items()}
    return state_from_arrays(arrays, quantized.plan)
