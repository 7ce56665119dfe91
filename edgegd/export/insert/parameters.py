"""The parameters of the float graph become the trained ones; what was folded into a convolution stays folded.

1. An initializer with the name of a parameter takes its trained value, of the same shape.
2. Every other initializer is a constant of the architecture (anchors, sizes) and stays.
"""

from __future__ import annotations

import onnx_ir as ir

from edgegd.export.insert.base import InsertionPass
from edgegd.export.insert.quantized_state import integer_convolutions


class TrainedParameters(InsertionPass):
    """Replaces the values of parameters by those of the quantized model's state."""

    name = "trained-parameters"
    makes = frozenset({"trained parameters"})

    def rewrite(self, graph: ir.Graph) -> bool:
        """Refuses a parameter of another shape, and a convolution whose weight the state or the graph does not have."""
        for op in integer_convolutions(self.plan):
            for where, names in (("the float graph", graph.initializers), ("the state", self.state.parameters)):
                if f"{op.weight}.weight" not in names:
                    raise self.refuse(op.address, f"{where} has no parameter {op.weight}.weight")
        trained = graph.initializers.keys() & self.state.parameters.keys()
        for name in sorted(trained):
            value, array = graph.initializers[name], self.state.parameters[name]
            shape = tuple(value.const_value.shape)  # type: ignore[union-attr]
            if shape != tuple(array.shape):
                raise self.refuse(name, f"the trained parameter has shape {tuple(array.shape)}", found=f"{shape}")
            value.const_value = ir.tensor(array, name=name)
        return bool(trained)
