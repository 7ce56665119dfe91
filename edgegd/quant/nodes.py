"""What stands in an exported graph: QuantizeLinear and DequantizeLinear for a fake quantizer, the steps of an exact
attention, a portable Softmax, a barrier around what stays float.

A QuantizeLinear carries the address of its tensor in an attribute, which edgegd.export.graph takes out again to name
the codes in the file. The values that pass through during the export's trace are not looked at.
"""

from __future__ import annotations

from typing import Any

import torch

ADDRESS = "address"  # the attribute
CODES = "/codes"  # suffix of the names of quantized tensors in a file


class QuantizeDequantizeActivation(torch.autograd.Function):
    """The pair for one tensor: `scale` and `zero_point` are numbers, the codes uint8, or int8 if `signed`.

    `code_scale` is the scale in units of x: the pair multiplies by scale / code_scale.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, code_scale: float, scale: float, zero_point: int, signed: bool, name: str
    ) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def symbolic(g: Any, x: Any, code_scale: float, scale: float, zero_point: int, signed: bool, name: str) -> Any:
        zero = g.op("Constant", value_t=torch.tensor(zero_point, dtype=torch.int8 if signed else torch.uint8))
        coarse = fine = g.op("Constant", value_t=torch.tensor(scale, dtype=torch.float32))
        if code_scale != scale:
            coarse = g.op("Constant", value_t=torch.tensor(code_scale, dtype=torch.float32))
        codes = g.op("QuantizeLinear", x, coarse, zero, **{f"{ADDRESS}_s": name})
        return g.op("DequantizeLinear", codes, fine, zero)


class QuantizeDequantizeWeight(torch.autograd.Function):
    """The pair for a weight (C_out, ...) with int8 codes and a `scale` of shape (C_out,) along axis 0."""

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, scale: torch.Tensor, name: str) -> torch.Tensor:
        return weight.clone()

    @staticmethod
    def symbolic(g: Any, weight: Any, scale: Any, name: str) -> Any:
        zero_point = g.op("Constant", value_t=torch.zeros(weight.type().sizes()[0], dtype=torch.int8))
        codes = g.op("QuantizeLinear", weight, scale, zero_point, axis_i=0, **{f"{ADDRESS}_s": name})
        return g.op("DequantizeLinear", codes, scale, zero_point, axis_i=0)


def _codes(dequantized: Any) -> Any:
    """Codes and zero point of what a DequantizeLinear made: the operands of an integer operation."""
    node = dequantized.node()
    if node.kind() != "onnx::DequantizeLinear":
        raise RuntimeError(f"an integer product reads {node.kind()}, which makes no codes")
    codes, _, zero_point = node.inputs()
    return codes, zero_point


def _product(g: Any, *operands: Any) -> Any:
    return g.op("Cast", g.op("MatMulInteger", *operands), to_i=torch.onnx.TensorProtoDataType.FLOAT)


class IntegerProduct(torch.autograd.Function):
    """a b, or a^T b, of the codes of two dequantized tensors, less their zero points: whole numbers in float32."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor, transpose: bool) -> torch.Tensor:
        return (a.mT if transpose else a) @ b

    @staticmethod
    def symbolic(g: Any, a: Any, b: Any, transpose: bool) -> Any:
        (a_codes, a_zero), (b_codes, b_zero) = _codes(a), _codes(b)
        if transpose:
            axes = list(range(len(a.type().sizes())))
            a_codes = g.op("Transpose", a_codes, perm_i=[*axes[:-2], axes[-1], axes[-2]])
        return _product(g, a_codes, b_codes, a_zero, b_zero)


class IntegerColumnSums(torch.autograd.Function):
    """The sums over axis -2 of the codes of a dequantized tensor, less its zero point, in float32."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.sum(-2, keepdim=True)

    @staticmethod
    def symbolic(g: Any, x: Any) -> Any:
        ones = torch.ones(1, x.type().sizes()[-2], dtype=torch.uint8)
        zero = g.op("Constant", value_t=torch.tensor(0, dtype=torch.uint8))
        codes, zero_point = _codes(x)
        return _product(g, g.op("Constant", value_t=ones), codes, zero, zero_point)


_SMALLEST_EXPONENT = -60.0  # exp(-60) is 1e-26: nothing beside the largest, which is 1


class _FloatBarrier(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def symbolic(g: Any, x: Any) -> Any:
        return g.op("Max", x)


def float_barrier(x: torch.Tensor) -> torch.Tensor:
    """The same values, behind a node that keeps onnxruntime from running the operation before it in integers.

    An operation that the plan keeps float would else be fused wherever it stands between a DequantizeLinear and a
    QuantizeLinear; float weights are even quantized for it (qdq_transformer/weight_bias_quantization.cc). A Max of one
    operand does nothing and survives all optimizations.
    """
    result: torch.Tensor = _FloatBarrier.apply(x)  # type: ignore[no-untyped-call]
    return result


def portable_softmax(x: torch.Tensor, dim: int, *_: Any, **__: Any) -> torch.Tensor:
    """Softmax from operations that onnxruntime computes alike on every CPU, to the last bit.

    Its Softmax and ReduceSum add in as many lanes as the CPU has, and a last bit decides the code of a value next to a
    half-way one. Exp, Sub and Div are elementwise, and MatMul adds in the order of its inner dimension: a product with
    ones is the sum (measured on AVX512, AVX2 and NEON: docs/emulation.md). Smaller exponents would give denormal
    numbers, with which x86 multiplies a hundred times slower.
    """
    if dim not in (-1, x.ndim - 1):
        return torch.softmax(x, dim)
    exponential = torch.exp((x - x.amax(-1, keepdim=True)).clamp(min=_SMALLEST_EXPONENT))
    return exponential / (exponential @ torch.ones(x.shape[-1], 1, dtype=x.dtype, device=x.device))
