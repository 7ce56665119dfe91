"""The parameters of the float graph become the trained ones; what was folded into a convolution stays folded.

1. An initializer that is a parameter of the model takes its trained value, of the same shape.
2. Every other initializer is a constant of the architecture (anchors, sizes) and stays.
"""

from __future__ import annotations

import onnx_ir as ir

from edgegd.export.insert.base import TRAINED_PARAMETERS, InsertionPass
from edgegd.plan.quantized_state import integer_convolutions


class TrainedParameters(InsertionPass):
    """Replaces the values of parameters by those of the quantized model's state."""

    name = "trained-parameters"
    makes = (TRAINED_PARAMETERS,)

    def rewrite(self, graph: ir.Graph) -> bool:
        """Refuses a parameter that the state does not have, or has in another shape, and a weight that is none."""
        for op in integer_convolutions(self.plan):
            if f"{op.weight}.weight" not in self.insertion.parameters:
                raise self.refuse(op.address, f"the float graph has no parameter {op.weight}.weight")
        for name in self.insertion.parameters:
            if name not in graph.initializers or name not in self.state.parameters:
                where = "state" if name in graph.initializers else "float graph"
                raise self.refuse(name, f"the {where} does not have this parameter")
            value, array = graph.initializers[name], self.state.parameters[name]
            shape = tuple(value.const_value.shape)  # type: ignore[union-attr]
            if shape != tuple(array.shape):
                raise self.refuse(name, f"the trained parameter has shape {tuple(array.shape)}, not {shape}")
            value.const_value = ir.tensor(array, name=name)
        return bool(self.insertion.parameters)
