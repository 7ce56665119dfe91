"""Neighbouring columns as channels: convolutions of few channels over many pixels, as ones of more over fewer.

In (1, H, W, C) the channels of G columns lie one after the other, so the same bytes are (1, H, W / G, G * C). A
convolution with stride s that makes g = G / s columns of C' channels is one that makes a single column of g * C'
channels: its weight for output column j and input column x is the old one's for x - (j * s - padding), and zero where
that is outside the kernel. Sums of integers with zeros in between are the same sums.

ConvSym (core/mlas/lib/convsym.cpp) writes a table of one pointer for each output pixel and each position of the kernel,
multiplies 4 channels at once and makes up to 64 output channels of them; with 3 in and 16 out it does little else than
read pointers. More products, most of them with zeros, take less time there (benchmarks/passes.py). ARM runs such
convolutions as im2col and a matrix product that pads to 16 channels: of the limits tried, 32 for an image and 16 for
others took the fewest instructions on a Cortex-A76 (64 and 32: 1.7 % more; not folded: 2.5 % more).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgegd.export.passes.base import ExactPass, Unfit, constant, numbers, shape_of, take_place

_IMAGE_CHANNELS = 4  # up to so many input channels it is an image
_MOST_CHANNELS = 16  # of others, in and out: with more, the products with zeros cost more than is gained
_OUTPUT_CHANNELS = (64, 32)  # of all columns together, for an image and for other inputs
_FEWER_CHANNELS = {"arm64": (32, 16)}  # where the matrix product of im2col runs, which pads to 16 only


class FoldColumns(ExactPass):
    """Rewrites convolutions of few channels to read and write several columns as one."""

    name = "fold-columns"
    text = "convolutions of few channels take neighbouring columns as channels"
    slower_on: ClassVar[Mapping[str, str]] = {
        "x86-avx2": "files are 2 % slower with it in kernels without VNNI, where products cost more than pointers "
        "(YOLO26n, 640 px, benchmarks/results/passes)",
        "arm64-nodot": "files take 6 % more instructions with it on a Cortex-A72, where products are no cheaper than "
        "pointers (YOLO26n, 320 px, benchmarks/results/arm_cost.json)",
    }

    def rewrite(self, graph: ir.Graph) -> None:
        """Rewrites every NHWC convolution with few channels in and out."""
        most_channels = _FEWER_CHANNELS.get(self.profile, _OUTPUT_CHANNELS)
        for node in [node for node in graph if node.op_type == "QLinearConv"]:
            weight = numbers(node.inputs[3])
            if weight is None or weight.shape[-1] == 1:
                continue
            is_image = weight.shape[1] <= _IMAGE_CHANNELS and node.attributes.get_int("group", 1) == 1
            columns = most_channels[not is_image] // weight.shape[0]
            if columns < 2 or (not is_image and max(weight.shape[:2]) > _MOST_CHANNELS):
                continue
            unfit = _unfit(node, weight, columns)
            if unfit is not None:
                self.refuse(node, unfit.reason)
                continue
            _fold(graph, node, weight, columns)
            self.applied.append(node.name or "")


def _unfit(node: ir.Node, weight: np.ndarray, columns: int) -> Unfit | None:
    source, result = node.inputs[0], node.outputs[0]
    before, after = shape_of(source) if source is not None else None, shape_of(result)
    stride, left = node.attributes.get_ints("strides", [1, 1])[1], node.attributes.get_ints("pads", [0] * 4)[1]
    if before is None or after is None or not node.attributes.get_int("channels_last", 0):
        return Unfit("its shape is not known, or its channels are not last")
    if node.attributes.get_int("group", 1) != 1 or set(node.attributes.get_ints("dilations", [1, 1])) != {1}:
        return Unfit("it has groups or dilations")
    if before[2] % (columns * stride) or after[2] * stride != before[2] or left >= weight.shape[3]:
        return Unfit(f"{before[2]} columns are no whole number of {columns * stride}")
    return None


def _fold(graph: ir.Graph, node: ir.Node, weight: np.ndarray, columns: int) -> None:
    source, result = node.inputs[0], node.outputs[0]
    (_, height, width, channels), after = shape_of(source), shape_of(result)  # type: ignore[arg-type, misc]
    strides, pads = node.attributes.get_ints("strides", [1, 1]), node.attributes.get_ints("pads", [0] * 4)
    stride, left, kernel = strides[1], pads[1], weight.shape[3]
    read = columns * stride  # input columns that become one
    first, last = -left // read, ((columns - 1) * stride + kernel - 1 - left) // read
    folded = np.zeros((columns, weight.shape[0], read, channels, weight.shape[2], last - first + 1), weight.dtype)
    for output in range(columns):
        for position in range(kernel):
            group, column = divmod(output * stride - left + position, read)
            folded[output, :, column, :, :, group - first] = weight[..., position]
    # (g, C', G, C, h, w) -> (g * C', G * C, h, w)
    folded = folded.reshape(columns * weight.shape[0], read * channels, weight.shape[2], last - first + 1)

    name = node.name or ""
    view = _reshaped(graph, source, (1, height, width // read, read * channels), f"{name}/columns_in")
    tiled = [_tiled(graph, value, columns) for value in node.inputs]
    weights = constant(graph, folded, f"{node.inputs[3].name}/columns{columns}")  # type: ignore[union-attr]
    attributes = dict(node.attributes) | {
        "kernel_shape": folded.shape[2:],
        "strides": (strides[0], 1),
        "pads": (pads[0], -first, pads[2], last),
    }
    conv = ir.node(
        "QLinearConv", [view.outputs[0], *tiled[1:3], weights, *tiled[4:]], attributes, domain=node.domain, name=name
    )
    back = _reshaped(graph, conv.outputs[0], after, f"{name}/columns_out")
    graph.insert_before(node, [view, conv, back])
    view.outputs[0].type, conv.outputs[0].type = source.type, result.type  # type: ignore[union-attr]
    conv.outputs[0].name = f"{name}/columns"
    conv.outputs[0].shape = ir.Shape((1, after[1], after[2] // columns, columns * after[3]))  # type: ignore[index]
    take_place(result, back.outputs[0])


def _reshaped(graph: ir.Graph, value: ir.Value | None, shape: tuple[int, ...] | None, name: str) -> ir.Node:
    return ir.node("Reshape", [value, constant(graph, np.array(shape, np.int64), f"{name}/shape")], name=name)


def _tiled(graph: ir.Graph, value: ir.Value | None, columns: int) -> ir.Value | None:
    """What is one number a channel, for the channels of all columns."""
    elements = numbers(value)
    if value is None or elements is None or elements.ndim != 1:
        return value
    return constant(graph, np.tile(elements, columns), f"{value.name}/x{columns}")
