"""The image as OpenCV has it: uint8, (1, H, W, C), blue first, instead of float32 planes.

The portable file divides by 255, quantizes to the very code that was divided, and transposes. Here the bytes of the
image are the codes; the order of the three colours is in the weights of the convolutions that read it, and any other
number of channels keeps its order. A fourth channel beside colours, where a camera gives one, has zero weights. Where
codes are signed, 128 is taken from each byte: as whole numbers of float32, which is exact, because ARM's kernels for
DequantizeLinear and QuantizeLinear use vectors, and BitwiseXor, which would flip the uppermost bit, does not (4.3
against 9.5 instructions a byte).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgegd.export.passes.base import ExactPass, Unfit, constant, numbers, shape_of, sole_reader

_BLUE_FIRST = [2, 1, 0]


class Uint8Input(ExactPass):
    """Makes the graph's input the image's own bytes."""

    name = "uint8-input"
    text = "reads the image's bytes (1, H, W, C), without division, quantization and transposition"

    def rewrite(self, graph: ir.Graph) -> None:
        """Rewrites the graph's one input and the convolutions that read it."""
        image = graph.inputs[0]
        quantize = sole_reader(image)
        transpose = sole_reader(quantize.outputs[0]) if quantize is not None else None
        if quantize is None or transpose is None or quantize.op_type != "QuantizeLinear":
            self.refuse(image, "something else than one quantized convolution reads the image")
            return
        codes, stems = transpose.outputs[0], [use.node for use in transpose.outputs[0].uses()]
        unfit = _unfit(quantize, stems)
        if unfit is not None:
            self.refuse(image, unfit.reason)
            return
        _, _, height, width = shape_of(image)  # type: ignore[misc]
        codes.replace_all_uses_with(_image_codes(graph, image, (1, height, width, self.channels), codes))
        for stem in stems:
            weight = stem.inputs[3]
            values = numbers(weight)
            assert values is not None and weight is not None  # integer-kernels found it
            if values.shape[1] == 3:
                values = np.pad(values[:, _BLUE_FIRST], ((0, 0), (0, self.channels - 3), (0, 0), (0, 0)))
            stem.replace_input_with(3, constant(graph, values, f"{weight.name}/image{self.channels}"))
            self.applied.append(stem.name or "")


def _unfit(quantize: ir.Node, stems: list[ir.Node]) -> Unfit | None:
    scale, zero_point = numbers(quantize.inputs[1]), numbers(quantize.inputs[2])
    if scale is None or zero_point is None:
        return Unfit("its range is computed")
    limits = np.iinfo(zero_point.dtype)
    image = np.arange(256, dtype=np.float32) / np.float32(255)
    codes = np.rint(image / scale).clip(limits.min - int(zero_point), limits.max - int(zero_point)) + int(zero_point)
    if not np.array_equal(codes, np.arange(256) + limits.min):
        return Unfit("its codes are not the image's bytes")
    for stem in stems:
        if stem.op_type != "QLinearConv" or stem.attributes.get_int("group", 1) != 1:
            return Unfit(f"{stem.name} reads it too, which is no convolution over all its channels")
    return None


def _image_codes(graph: ir.Graph, image: ir.Value, shape: tuple[int, ...], codes: ir.Value) -> ir.Value:
    """The new input, and what makes its bytes the codes where these are signed."""
    new = ir.val(image.name, ir.DataType.UINT8, shape)
    graph.inputs[0] = new
    if codes.dtype == ir.DataType.UINT8:
        return new
    first = next(iter(graph))
    one, lowest = constant(graph, np.float32(1), "images/one"), constant(graph, np.int8(-128), "images/lowest")
    numbers_of = ir.node("DequantizeLinear", [new, one], name="images/numbers")
    signed = ir.node("QuantizeLinear", [numbers_of.outputs[0], one, lowest], name="images/signed")
    graph.insert_before(first, [numbers_of, signed])
    signed.outputs[0].type, signed.outputs[0].shape = codes.type, ir.Shape(shape)
    return signed.outputs[0]
