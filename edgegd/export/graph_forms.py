"""Forms of an exported graph that compute the same: codes as outputs, uint8 for int8 activations, or for int8 weights.

Needs the onnx package, when called.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from edgegd.addresses import address_of_codes
from edgegd.runtime.contract import INPUT_NAME

if TYPE_CHECKING:
    import onnx

CODE_SHIFT = 128  # a uint8 code less its int8 form
# operator -> where its weights and their zero point stand among its inputs
_WEIGHT_OPERANDS = {
    "DequantizeLinear": (0, 2),
    "QLinearConv": (3, 5),
    "QLinearMatMul": (3, 5),
    "QGemm": (3, 5),
    "MatMulInteger": (1, 3),
}


def constants(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """The values of initializers and Constant nodes by name."""
    from onnx import numpy_helper

    values = {initializer.name: numpy_helper.to_array(initializer) for initializer in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return values


def _activation_quantizers(graph: onnx.GraphProto, values: dict[str, np.ndarray]) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] not in values:
            yield node


def is_edge(model: onnx.ModelProto) -> bool:
    """Whether a file is made of onnxruntime's own integer operators."""
    return any(node.op_type == "QLinearConv" for node in model.graph.node)


def _code_tensors(model: onnx.ModelProto) -> dict[str, int]:
    """The element type of every quantized activation by name, in the order of the graph.

    In an edge file they are the results of integer operators; they have the names that they have in the portable file.
    The image's bytes as int8 are none of them: the bytes themselves are the codes.
    """
    import onnx

    graph, values = model.graph, constants(model.graph)
    types: dict[str, int] = {}
    for node in _activation_quantizers(graph, values):
        zero_point = values[node.input[2]] if len(node.input) > 2 else np.uint8(0)
        types[node.output[0]] = onnx.helper.np_dtype_to_tensor_dtype(zero_point.dtype)
    if is_edge(model):
        (kind,) = {values[node.input[2]].dtype for node in graph.node if node.op_type == "QLinearConv"}
        element: int = onnx.helper.np_dtype_to_tensor_dtype(kind)
        types = {
            name: types.get(name, element)
            for node in graph.node
            for name in node.output
            if address_of_codes(name) or (name in types and not node.name.startswith(f"{INPUT_NAME}/"))
        }
    return types


def code_names(model: onnx.ModelProto) -> list[str]:
    """The names of all quantized activations, in the order of the graph."""
    return list(_code_tensors(model))


def largest_weight_code(model: onnx.ModelProto) -> int:
    """The largest absolute int8 code of the weights of convolutions and matrix products; 0 where there are none."""
    values = constants(model.graph)
    dequantized = {
        node.output[0]: values.get(node.input[0]) for node in model.graph.node if node.op_type == "DequantizeLinear"
    }
    weights = [
        dequantized.get(node.input[1]) for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")
    ]
    weights += [values[node.input[3]] for node in model.graph.node if node.op_type == "QLinearConv"]
    return max(
        (int(np.abs(w.astype(np.int16)).max()) for w in weights if w is not None and w.dtype == np.int8), default=0
    )


def with_codes_as_outputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model that also outputs every quantized activation, under its own name."""
    import onnx

    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    present = {output.name for output in copied.graph.output}
    for name, element in _code_tensors(copied).items():
        if name not in present:
            copied.graph.output.append(onnx.helper.make_tensor_value_info(name, element, None))
    return copied


def with_unsigned_activations(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose int8 activations are uint8: every zero point and every code larger by 128, the same real values.

    onnxruntime runs signed activations in integers on ARM only (core/optimizer/qdq_transformer/, qdqisint8allowed); on
    x86 this copy is what computes the same.
    """
    import onnx

    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    graph, values = copied.graph, constants(copied.graph)
    quantizers = list(_activation_quantizers(graph, values))
    quantized = {node.output[0] for node in quantizers}
    operands = [(node, 2) for node in quantizers]  # where a zero point of activations stands
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in quantized:
            operands.append((node, 2))
        if node.op_type == "MatMulInteger":
            operands += [(node, 2 + side) for side in (0, 1) if node.input[side] not in values]
    shifted: set[str] = set()
    for node, position in operands:
        old = node.input[position] if len(node.input) > position else ""
        if not old or values[old].dtype != np.int8:
            continue
        node.input[position] = f"{old}/uint8"
        if old not in shifted:
            zero_point = (values[old].astype(np.int16) + CODE_SHIFT).astype(np.uint8)
            graph.initializer.append(onnx.numpy_helper.from_array(zero_point, node.input[2]))
            shifted.add(old)
    del graph.value_info[:]  # the element types written there are those of before
    return copied


def has_signed_activations(model: onnx.ModelProto) -> bool:
    """Whether the file quantizes activations to int8."""
    import onnx

    return onnx.TensorProto.INT8 in _code_tensors(model).values()


def with_unsigned_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose int8 weights are uint8: every weight and its zero point larger by 128, the same real values.

    Weights are constants that a DequantizeLinear reads, and those of QLinearConv, QLinearMatMul, QGemm and
    MatMulInteger, whichever domain they are of. Activations stay as they are: where they are int8, onnxruntime has no
    kernel for uint8 weights.
    """
    import onnx

    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    graph, values = copied.graph, constants(copied.graph)
    shifted: set[str] = set()
    for node in graph.node:
        weight, zero_point = _WEIGHT_OPERANDS.get(node.op_type, (-1, -1))
        if not 0 <= weight < len(node.input) or values.get(node.input[weight], np.float32(0)).dtype != np.int8:
            continue
        if len(node.input) <= zero_point or not node.input[zero_point]:
            raise ValueError(f"{node.name or node.op_type} has int8 weights without a zero point")
        for position in (weight, zero_point):
            name = node.input[position]
            node.input[position] = f"{name}/uint8"
            if name not in shifted:
                codes = (values[name].astype(np.int16) + CODE_SHIFT).astype(np.uint8)
                graph.initializer.append(onnx.numpy_helper.from_array(codes, f"{name}/uint8"))
                shifted.add(name)
    del graph.value_info[:]  # the element types written there are those of before
    return copied
