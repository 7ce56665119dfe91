"""A model that is slower by real work: copies of its own convolutions with other weights, whose results are used."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgegd.precision.timing import profile_models
from edgegd.recipe.schema import LatencySection
from edgegd.targets.local import LocalTarget

_EXTRA = "extra"


def add_work(model: onnx.ModelProto, path: Path, share: float) -> float:
    """Adds convolutions that take `share` of the model's time, by a profile of the file `path`; returns their share.

    A copy has the original's inputs and rotated weights, so that it cannot be merged with it; the greatest value of
    each result is an output, so that it cannot be removed. Convolutions of many sizes are taken, largest first.
    """
    profile = profile_models({"model": path}, LocalTarget(), LatencySection(threads=1))["model"]
    times = {node.name: node.ms for node in profile.nodes if node.op_type == "QLinearConv"}
    wanted_ms, added_ms = share * sum(node.ms for node in profile.nodes), 0.0
    graph = model.graph
    weights = {initializer.name: initializer for initializer in graph.initializer}
    nodes = {node.name: node for node in graph.node if node.op_type == "QLinearConv"}
    for name in sorted(times.keys() & nodes.keys(), key=lambda name: -times[name]):
        if added_ms + times[name] > wanted_ms:
            continue
        added_ms += times[name]
        _add_copy(graph, nodes[name], weights, len(graph.node))
    return added_ms / sum(node.ms for node in profile.nodes)


def _add_copy(graph: onnx.GraphProto, node: onnx.NodeProto, weights: dict[str, TensorProto], number: int) -> None:
    extra = copy.deepcopy(node)
    name = f"{_EXTRA}_{number}"
    values = numpy_helper.to_array(weights[node.input[3]])
    rotated = np.ascontiguousarray(np.roll(values, 1, axis=0))
    graph.initializer.append(numpy_helper.from_array(rotated, f"{name}_weight"))
    extra.name, extra.input[3], extra.output[0] = name, f"{name}_weight", f"{name}_codes"
    greatest = helper.make_node("ReduceMax", [f"{name}_codes"], [f"{name}_greatest"], keepdims=0)
    position = [one.name for one in graph.node].index(node.name)
    graph.node.insert(position + 1, extra)
    graph.node.insert(position + 2, greatest)
    graph.output.append(helper.make_tensor_value_info(f"{name}_greatest", TensorProto.UINT8, []))
