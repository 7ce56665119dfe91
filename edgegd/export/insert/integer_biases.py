"""The biases of integer convolutions as int32 codes of scale input scale x weight scale.

onnxruntime demands that scale for fusion (qdq_selectors.cc, ConvNodeGroupSelector).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgegd.export.insert.addressed_graph import add_constant, make_node, nodes_by_address
from edgegd.export.insert.base import INTEGER_BIASES, INTEGER_WEIGHTS, QUANTIZED_TENSORS, InsertionPass
from edgegd.export.insert.integer_weights import convolution
from edgegd.plan.quantized_state import integer_convolutions

_LIMIT = 2**31 - 1


class IntegerBiases(InsertionPass):
    """Lets every integer convolution that has a bias read a DequantizeLinear of int32 codes."""

    name = "integer-biases"
    needs = (
        QUANTIZED_TENSORS,
        INTEGER_WEIGHTS,
    )
    makes = (INTEGER_BIASES,)

    def rewrite(self, graph: ir.Graph) -> bool:
        """Refuses a convolution that reads float values, and a bias that is computed."""
        nodes, changed = nodes_by_address(graph, self.plan), False
        for op in integer_convolutions(self.plan):
            node = convolution(self, nodes, op)
            data = node.inputs[0].producer() if node.inputs[0] is not None else None
            if data is None or data.op_type != "DequantizeLinear":
                raise self.refuse(op.address, "it has integer weights but a float input")
            bias = node.inputs[2] if len(node.inputs) > 2 else None
            if bias is None:
                continue
            if bias.const_value is None:
                raise self.refuse(op.address, "its bias is computed")
            scale = self.state.range_of(self.plan, op.inputs[0]).scale * np.asarray(
                self.state.weight_scales[op.weight], np.float32
            )
            codes = np.rint(bias.const_value.numpy() / scale).clip(-_LIMIT, _LIMIT).astype(np.int64)
            operands = [
                add_constant(graph, codes.clip(-_LIMIT, _LIMIT).astype(np.int32), f"{op.address}/bias_int32"),
                add_constant(graph, scale, f"{op.address}/bias_scale"),
            ]
            name = f"{op.address}/bias_dequantize"
            dequantize = make_node("DequantizeLinear", operands, name, output=f"{op.address}/bias", axis=0)
            graph.insert_before(node, dequantize)
            node.replace_input_with(2, dequantize.outputs[0])
            changed = True
        return changed
