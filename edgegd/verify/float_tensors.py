"""The float values that onnxruntime computes inside an addressed float graph, by the plan's addresses."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
import onnx_ir as ir
import onnxruntime
from onnx_ir.passes.common import ShapeInferencePass

from edgegd.addresses import inner_of, owner_of
from edgegd.export.insert.addressed_graph import nodes_by_address, results
from edgegd.plan.quant_plan import QuantPlan


def open_graph(graph: onnx.ModelProto, outputs: Iterable[str]) -> onnxruntime.InferenceSession:
    """A session with onnxruntime's own number of threads that shows these values instead of the graph's own output."""
    shown = onnx.ModelProto()
    shown.CopyFrom(graph)
    del shown.graph.output[:]
    for name in dict.fromkeys(outputs):
        shown.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(shown.SerializeToString(), options, ["CPUExecutionProvider"])


def value_names(graph: onnx.ModelProto, plan: QuantPlan) -> dict[str, list[str]]:
    """Address of every planned operation -> the names of its results in the float graph."""
    model = ir.from_proto(graph)
    ShapeInferencePass(check_type=False, strict_mode=False)(model)
    nodes = nodes_by_address(model.graph, plan)
    return {address: [str(value.name) for value in results(own)] for address, own in nodes.items()}


def tensor_names(graph: onnx.ModelProto, plan: QuantPlan) -> dict[str, list[str]]:
    """As value_names, and the tensors inside operations."""
    names = value_names(graph, plan)
    gates = {node.name.rpartition("/")[0]: node.output[0] for node in graph.graph.node if node.op_type == "Sigmoid"}
    inner = [tensor.address for tensor in plan.tensors if inner_of(tensor.address) == "sigmoid"]
    return names | {address: [gates[owner_of(address)]] for address in inner}
