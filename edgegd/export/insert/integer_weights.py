"""The weights of integer convolutions as int8 codes.

Codes are computed as QuantizeLinear computes them: half to even of a float32 division, within the format's codes.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgegd.export.insert.addressed_graph import add_constant, make_node, nodes_by_address
from edgegd.export.insert.base import INTEGER_WEIGHTS, TRAINED_PARAMETERS, InsertionPass
from edgegd.plan.quant_plan import PlannedOp
from edgegd.plan.quantized_state import integer_convolutions


class IntegerWeights(InsertionPass):
    """Lets every integer convolution read a DequantizeLinear of int8 codes, one scale per output channel."""

    name = "integer-weights"
    needs = (TRAINED_PARAMETERS,)
    makes = (INTEGER_WEIGHTS,)

    def rewrite(self, graph: ir.Graph) -> bool:
        """Refuses an operation that is not one Conv, or whose weight is computed or another's."""
        nodes, planned = nodes_by_address(graph, self.plan), integer_convolutions(self.plan)
        for op in planned:
            node = convolution(self, nodes, op)
            weight, expected = node.inputs[1], f"{op.weight}.weight"
            if weight is None or weight.name != expected or weight.const_value is None:
                name = "nothing" if weight is None else str(weight.name)
                raise self.refuse(op.address, f"its weight must be the parameter {expected}", found=name)
            scale = np.asarray(self.state.weight_scales[op.weight], np.float32)
            codes = self._codes(weight.const_value.numpy(), scale)
            operands = [
                add_constant(graph, codes, f"{op.address}/weight_int8"),
                add_constant(graph, scale, f"{op.address}/weight_scale"),
                add_constant(graph, np.zeros(len(scale), np.int8), f"{op.address}/weight_zero_point"),
            ]
            dequantize = make_node("DequantizeLinear", operands, f"{op.address}/weight/dequantize", axis=0)
            graph.insert_before(node, dequantize)
            node.replace_input_with(1, dequantize.outputs[0])
        return bool(planned)

    def _codes(self, weight: np.ndarray, scale: np.ndarray) -> np.ndarray:
        qmax = self.plan.weight_format.qmax
        per_channel = scale.reshape(-1, *[1] * (weight.ndim - 1))  # (C_out,) -> (C_out, 1, 1, 1)
        codes: np.ndarray = np.rint(weight / per_channel).clip(-qmax, qmax).astype(np.int8)
        return codes


def convolution(by: InsertionPass, nodes: dict[str, list[ir.Node]], op: PlannedOp) -> ir.Node:
    """The Conv of a planned convolution; InsertionError, in the name of the pass, where there is not just one."""
    found = [node for node in nodes.get(op.address, []) if node.op_type == "Conv"]
    if len(found) != 1:
        raise by.refuse(op.address, f"the operation must be one Conv in the float graph, and is {len(found)}")
    return found[0]
