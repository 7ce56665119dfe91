"""What the plan keeps float between quantized tensors stays float in onnxruntime too.

It fuses every operation between DequantizeLinear and QuantizeLinear that it has an integer kernel for, and even
quantizes float weights for that (qdq_transformer/weight_bias_quantization.cc). A Max of one operand computes nothing
and survives all optimizations, and no operation before it is followed by a QuantizeLinear.
"""

from __future__ import annotations

import onnx_ir as ir

from edgegd.export.insert.addressed_graph import make_node, nodes_by_address, only_result, readers_outside, redirect
from edgegd.export.insert.base import FLOAT_BARRIERS, PORTABLE_SOFTMAX, InsertionPass
from edgegd.plan.profiles.table import FLOAT
from edgegd.plan.quant_plan import PlannedOp


class FloatBarriers(InsertionPass):
    """Puts a Max behind every float operation whose result, and everything that it reads, is quantized."""

    name = "float-barriers"
    needs = (PORTABLE_SOFTMAX,)  # which has another last node
    makes = (FLOAT_BARRIERS,)

    def rewrite(self, graph: ir.Graph) -> bool:
        """Refuses a float operation of several results: torch's side quantizes none of them."""
        nodes = nodes_by_address(graph, self.plan)
        fenced = [op for op in self.plan.ops if self._is_between_codes(op)]
        for op in fenced:
            own = nodes.get(op.address, [])
            value = only_result(own, self.name, op)
            barrier = make_node("Max", [value], f"{op.address}/Max")
            producer = value.producer()
            if producer is None:
                raise self.refuse(op.address, "the operation passes on what it reads")
            readers = readers_outside(value, own)
            graph.insert_after(producer, barrier)
            redirect(value, barrier.outputs[0], [reader for reader in readers if reader[0] is not barrier])
        return bool(fenced)

    def _is_between_codes(self, op: PlannedOp) -> bool:
        return op.decision == FLOAT and all(address in self.plan.groups for address in (op.address, *op.inputs))
