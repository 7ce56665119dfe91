"""Constants: everything that depends on no image is computed once (the head's anchors, sizes of reshapes)."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator
from onnx_ir.passes.common import LiftConstantsToInitializersPass, ShapeInferencePass

from edgegd.export.graph_pass import LIFTED_CONSTANTS
from edgegd.export.passes.base import ExactPass, constant, numbers, shape_of

_LARGEST = 1 << 20  # elements


class FoldConstants(ExactPass):
    """Replaces what is computed from constants, and Shape of a static shape, by its value."""

    name = "fold-constants"
    text = "computes once what depends on no image"
    makes = (LIFTED_CONSTANTS,)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Makes constants initializers and infers shapes, then folds."""
        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        ShapeInferencePass(check_type=True, strict_mode=True)(model)
        return super().call(model)

    def rewrite(self, graph: ir.Graph) -> None:
        """Folds in running order, so that what reads a folded value is folded too, and has a shape."""
        for node in list(graph):
            if any(shape_of(output) is None for output in node.outputs):
                _infer_shapes(graph, node)
            found = _result(node)
            if found is None or node.op_type == "DequantizeLinear":  # int8 weights stay int8
                continue
            output = node.outputs[0]
            output.replace_all_uses_with(constant(graph, found, f"{output.name}~value"))
            self.applied.append(node.name or "")


def _infer_shapes(graph: ir.Graph, node: ir.Node) -> None:
    """The output shapes that follow from what was folded before."""
    known = {value.name or "": value for value in node.inputs if value is not None and value.type is not None}
    if node.domain or any(shape_of(value) is None for value in known.values()):
        return
    opset = graph.opset_imports[""]
    types = {
        name: onnx.helper.make_tensor_type_proto(int(value.dtype or 0), shape_of(value))
        for name, value in known.items()
    }
    data = {
        name: ir.serde.serialize_tensor(value.const_value)
        for name, value in known.items()
        if value.const_value is not None
    }
    inferred = onnx.shape_inference.infer_node_outputs(
        onnx.defs.get_schema(node.op_type, opset),
        ir.serde.serialize_node(node),
        types,
        data,
        opset_imports=[onnx.helper.make_opsetid("", opset)],
    )
    for output in node.outputs:
        dimensions = inferred[output.name].tensor_type.shape.dim if output.name in inferred else []
        if dimensions and all(dimension.HasField("dim_value") for dimension in dimensions):
            output.shape = ir.Shape([dimension.dim_value for dimension in dimensions])


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
