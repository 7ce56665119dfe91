"""What stands in an exported graph: QuantizeLinear and DequantizeLinear for a fake quantizer, a portable
Softmax, a barrier around what stays float.

A QuantizeLinear carries the address of its tensor in an attribute, which edgegd.export.graph takes out again to name
the codes in the file. The values that pass through during the export's trace are not looked at.
"""

from __future__ import annotations

from typing import Any

import torch

ADDRESS = "address"  # the attribute
CODES = "/codes"  # suffix of the names of quantized tensors in a file


class QuantizeDequantizeActivation(torch.autograd.Function):
    """The pair for one tensor: `scale` and `zero_point` are numbers, the codes uint8, or int8 if `signed`."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: float, zero_point: int, signed: bool, name: str) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def symbolic(g: Any, x: Any, scale: float, zero_point: int, signed: bool, name: str) -> Any:
        dtype = torch.int8 if signed else torch.uint8
        range_nodes = (g.op("Constant", value_t=torch.tensor(scale, dtype=torch.float32)),
                       g.op("Constant", value_t=torch.tensor(zero_point, dtype=dtype)))
        codes = g.op("QuantizeLinear", x, *range_nodes, **{f"{ADDRESS}_s": name})
        return g.op("DequantizeLinear", codes, *range_nodes)


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
