"""Channels last: the integer kernels read and write (N, H, W, C), as they compute inside.

Each operation on 4-dimensional codes is rewritten to NHWC; where a float operation or the output reads NCHW, one
Transpose makes it. onnxruntime's own transformer (core/optimizer/nhwc_transformer.cc) does this for the convolutions
and pushes Transposes through the rest; done here, the passes after this one see where channels and pixels lie.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgegd.export.graph_pass import LIFTED_CONSTANTS
from edgegd.export.passes.base import MICROSOFT, ExactPass, Unfit, constant, numbers, shape_of

_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
_ELEMENTWISE = ("QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu")
_KERNELS = ("QLinearConv", "QLinearAveragePool", "QLinearGlobalAveragePool")  # with an attribute channels_last
_AXIS = ("Concat", "QLinearConcat", "Split")


class ChannelsLast(ExactPass):
    """Rewrites operations on codes to NHWC, with a Transpose at every border to what stays NCHW."""

    name = "channels-last"
    text = "integer operators on (N, H, W, C), as their kernels compute"
    needs = (LIFTED_CONSTANTS,)

    def rewrite(self, graph: ir.Graph) -> None:
        """Rewrites in running order; `last` maps an NCHW value to its NHWC form."""
        last: dict[ir.Value, ir.Value] = {}
        for node in list(graph):
            data = _data_inputs(node)
            if not data:
                continue
            unfit = _unfit(node, data)
            if unfit is not None:
                if unfit.notable:
                    self.refuse(node, unfit.reason)
                continue
            for index in data:
                node.replace_input_with(index, _channels_last(graph, node, node.inputs[index], last))  # type: ignore[arg-type]
            _rewrite_attributes(graph, node)
            for output in node.outputs:
                _let_others_read(graph, node, output, last)
            self.applied.append(node.name or "")


def _data_inputs(node: ir.Node) -> list[int]:
    """The positions of the activations among the inputs of an operation that can be rewritten."""
    if node.op_type in ("QLinearAdd", "QLinearMul"):
        return [0, 3]
    if node.op_type == "QLinearConcat":
        return list(range(2, len(node.inputs), 3))
    if node.op_type == "Concat":
        return list(range(len(node.inputs)))
    return [0] if node.op_type in (*_ELEMENTWISE, *_KERNELS, "MaxPool", "Resize", "Split", "Slice") else []


def _unfit(node: ir.Node, data: list[int]) -> Unfit | None:
    for index in data:
        value = node.inputs[index]
        if value is None or value.dtype not in (ir.DataType.UINT8, ir.DataType.INT8):
            return Unfit("it is float", notable=False)
        shape = shape_of(value)
        if shape is None or len(shape) != 4:
            return Unfit("no image (N, C, H, W)")
    if node.op_type in _AXIS and node.attributes.get_int("axis", 0) not in (1, -3):
        return Unfit("joins or splits along another axis than that of channels")
    if node.op_type == "MaxPool" and len(node.outputs) != 1:
        return Unfit("gives indices too")
    if node.op_type == "Slice" and (len(node.inputs) < 4 or numbers(node.inputs[3]) is None):
        return Unfit("its axes are not known")
    return None


def _channels_last(graph: ir.Graph, node: ir.Node, value: ir.Value, last: dict[ir.Value, ir.Value]) -> ir.Value:
    if value not in last:
        transpose = ir.node("Transpose", [value], {"perm": _TO_LAST}, name=f"{value.name}/nhwc")
        graph.insert_before(node, transpose)
        output = transpose.outputs[0]
        output.name, output.type, output.shape = f"{value.name}/nhwc", value.type, _permuted(value, _TO_LAST)
        last[value] = output
    return last[value]


def _let_others_read(graph: ir.Graph, node: ir.Node, output: ir.Value, last: dict[ir.Value, ir.Value]) -> None:
    transpose = ir.node("Transpose", [output], {"perm": _TO_FIRST}, name=f"{output.name}/nchw")
    first = transpose.outputs[0]
    first.name, first.type, first.shape = f"{output.name}/nchw", output.type, output.shape
    output.replace_all_uses_with(first, replace_graph_outputs=True)
    transpose.replace_input_with(0, output)
    output.shape = _permuted(output, _TO_LAST)
    graph.insert_after(node, transpose)
    last[first] = output


def _permuted(value: ir.Value, order: tuple[int, ...]) -> ir.Shape:
    shape = shape_of(value)
    assert shape is not None
    return ir.Shape([shape[axis] for axis in order])


def _rewrite_attributes(graph: ir.Graph, node: ir.Node) -> None:
    if node.op_type in _KERNELS:
        node.attributes["channels_last"] = ir.AttrInt64("channels_last", 1)
    elif node.op_type in _AXIS:
        node.attributes["axis"] = ir.AttrInt64("axis", 3)
    elif node.op_type == "MaxPool":
        node.op_type, node.domain = "NhwcMaxPool", MICROSOFT
    elif node.op_type == "Slice":
        axes = node.inputs[3]
        positions = np.array([_TO_LAST.index(axis % 4) for axis in numbers(axes)], np.int64)  # type: ignore[union-attr]
        node.replace_input_with(3, constant(graph, positions, f"{axes.name}/nhwc"))  # type: ignore[union-attr]
    elif node.op_type == "Resize":
        for index in [i for i in range(1, len(node.inputs)) if node.inputs[i] is not None]:
            value = node.inputs[index]
            elements = numbers(value)
            if elements is not None and elements.shape == (4,):  # scales or sizes, one an axis
                moved = constant(graph, elements[np.array(_TO_LAST)], f"{value.name}/nhwc")  # type: ignore[union-attr]
                node.replace_input_with(index, moved)
