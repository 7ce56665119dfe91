"""The portable Q/DQ graph of a plan: all insertion passes over an addressed float graph."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass

from edgegd.export.insert import PASSES
from edgegd.export.insert.base import Insertion, ordered
from edgegd.export.traced_graph import read_trace
from edgegd.plan.quant_plan import QuantPlan, require_plan_fits
from edgegd.plan.quantized_state import QuantizedState


def quantized_graph(float_graph: onnx.ModelProto, plan: QuantPlan, state: QuantizedState) -> onnx.ModelProto:
    """The portable graph, without metadata, of `plan` with the weights and ranges of `state`.

    `float_graph` is the addressed float graph with its trace (edgegd.export.float_graph), which stays as it is.

    Raises:
        MetadataError: the float graph carries no trace.
        PlanError: the plan is of another model or for another image size.
        InsertionError: a pass cannot write what the plan wants; it names the pass, the address and the reason.
    """
    traced = read_trace(float_graph)
    height, width = (dimension.dim_value for dimension in float_graph.graph.input[0].type.tensor_type.shape.dim[2:])
    require_plan_fits(plan, traced.ops, (height, width))
    model = ir.from_proto(float_graph)
    ShapeInferencePass(check_type=False, strict_mode=False)(model)  # types tell results from sizes
    insertion = Insertion(plan, state, {op.address: op for op in traced.ops}, traced.parameters)
    for kind in ordered(PASSES):
        kind(insertion)(model)
    RemoveUnusedNodesPass()(model)
    model.metadata_props.clear()
    graph = ir.to_proto(model)
    del graph.graph.value_info[:]  # onnxruntime infers shapes itself
    onnx.checker.check_model(graph, full_check=True)
    return graph
