"""Constants: everything that depends on no image is computed once (the head's anchors, sizes of reshapes)."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator
from onnx_ir.passes.common import LiftConstantsToInitializersPass, ShapeInferencePass

from edgegd.export.passes.base import ExactPass, constant, numbers, shape_of

_LARGEST = 1 << 20  # elements


class FoldConstants(ExactPass):
    """Replaces what is computed from constants, and Shape of a static shape, by its value."""

    name = "fold-constants"
    text = "computes once what depends on no image"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Infers shapes and folds in turn, as long as one makes work for the other; constants become initializers."""
        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        found = -1
        while found != len(self.applied):
            found = len(self.applied)
            ShapeInferencePass(check_type=True, strict_mode=True)(model)
            super().call(model)
        return ir.passes.PassResult(model, bool(self.applied))

    def rewrite(self, graph: ir.Graph) -> None:
        """Folds in running order, so that what reads a folded value is folded too."""
        for node in list(graph):
            found = _result(node)
            if found is None or node.op_type == "DequantizeLinear":  # int8 weights stay int8
                continue
            output = node.outputs[0]
            output.replace_all_uses_with(constant(graph, found, f"{output.name}~value"))
            self.applied.append(node.name or "")


def _result(node: ir.Node) -> np.ndarray | None:
    if node.op_type == "Shape":
        shape = shape_of(node.inputs[0]) if node.inputs[0] is not None else None
        return None if shape is None else np.array(shape, np.int64)
    inputs = {value.name or "": numbers(value) for value in node.inputs if value is not None}
    if not inputs or any(value is None for value in inputs.values()) or len(node.outputs) != 1 or node.domain:
        return None
    size = sum(value.size for value in inputs.values() if value is not None)
    if node.outputs[0].is_graph_output() or size > _LARGEST:
        return None
    evaluator: Any = ReferenceEvaluator(ir.serde.serialize_node(node))
    return np.asarray(evaluator.run(None, inputs)[0])
