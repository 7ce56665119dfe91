"""What is computed from constants alone, by operators whose result is one on every machine, is computed once.

These are movements of elements, and arithmetic that IEEE 754 rounds correctly. Others (Sin, Exp) stay: onnxruntime
computes them itself, when it opens the file.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from edgegd.export.insert.base import (
    EXACT_ATTENTION,
    FOLDED_PARAMETERS,
    INTEGER_BIASES,
    TRAINED_PARAMETERS,
    InsertionPass,
)

_EXACT = frozenset(
    {"Transpose", "Slice", "Concat", "Unsqueeze", "Squeeze", "Gather", "Reshape", "Cast", "Shape"}
    | {"Add", "Sub", "Mul", "Div", "Sqrt", "Neg", "Less", "Equal", "Greater", "Not"}
)


class FoldedParameters(InsertionPass):
    """Folds what is computed from trained parameters (transposed weights of linear layers, pieces of them)."""

    name = "folded-parameters"
    needs = (
        TRAINED_PARAMETERS,
        INTEGER_BIASES,
        EXACT_ATTENTION,
    )
    makes = (FOLDED_PARAMETERS,)

    def rewrite(self, graph: ir.Graph) -> bool:
        """Refuses nothing."""
        return fold(graph)


def fold(graph: ir.Graph, without: Collection[str] = ()) -> bool:
    """Replaces, in place, what depends on constants alone by its value; `without` names initializers that may change.

    Nodes whose results nothing reads any more stay. Whether there was anything to fold.
    """
    changed = False
    for node in list(graph):
        if node.op_type not in _EXACT or node.domain or len(node.outputs) != 1 or node.outputs[0].is_graph_output():
            continue
        inputs = {value.name or "": _elements(value, without) for value in node.inputs if value is not None}
        if not inputs or any(value is None for value in inputs.values()):
            continue
        evaluator: Any = ReferenceEvaluator(ir.serde.serialize_node(node))
        found = np.asarray(evaluator.run(None, inputs)[0])
        output = node.outputs[0]
        name = output.name or ""
        output.name = f"{name}~"
        value = ir.val(name, const_value=ir.tensor(np.array(found, order="C"), name=name))
        graph.register_initializer(value)
        output.replace_all_uses_with(value)
        changed = True
    return changed


def _elements(value: ir.Value, without: Collection[str]) -> np.ndarray | None:
    producer = value.producer()
    if producer is not None and producer.op_type == "Constant" and "value" in producer.attributes:
        return producer.attributes["value"].as_tensor().numpy()
    if value.const_value is None or value.name in without:
        return None
    return value.const_value.numpy()
