"""The portable graph of a torch model under quantization, by way of the float graph and the insertion passes."""

from __future__ import annotations

import onnx

from edgegd.export.float_graph import float_graph
from edgegd.export.insert.quantized_graph import quantized_graph
from edgegd.export.insert.quantized_state import QuantizedState, state_from_arrays
from edgegd.network_size import NetworkSize
from edgegd.quant.attach import QuantizedModel


def state_of(quantized: QuantizedModel) -> QuantizedState:
    """The weights and ranges of a model in torch, as arrays that share its memory where it is on the CPU."""
    arrays = {name: value.detach().cpu().numpy() for name, value in quantized.state_dict().items()}
    return state_from_arrays(arrays, quantized.plan)


def build_by_passes(quantized: QuantizedModel, imgsz: int | NetworkSize, opset: int) -> onnx.ModelProto:
    """The portable Q/DQ graph, without metadata."""
    return quantized_graph(float_graph(quantized.model, imgsz, opset), quantized.plan, state_of(quantized))
