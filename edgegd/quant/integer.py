"""onnxruntime's integer kernels in torch, in the order of float32 operations that MLAS uses, for evaluation.

Activations, as arguments and results, are fake-quantized float32 tensors: codes times scale; weight and bias are the
learned ones. Training computes the same values up to the last bit of float32; here the last bit counts, because where a
sum lies next to a half-way value it decides a code, and one code decides thousands after it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from edgegd.quant.quantizers import ActivationQuantizer, WeightQuantizer


def codes_of(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The codes of a fake-quantized tensor, less its zero point, as whole numbers in float32.

    The reciprocal is faster than a division and as good here: before rounding a code is off by 256 * 2^-22 at most.
    """
    return torch.mul(x, scale.reciprocal()).round_()


def requantize(value: torch.Tensor, result: ActivationQuantizer) -> torch.Tensor:
    """Rounds half to even and saturates `value` (in units of the result's scale; overwritten) and scales it."""
    return value.round_().clamp_(*result.bounds).mul_(result.scale)


def from_raw_codes(value: torch.Tensor, result: ActivationQuantizer) -> torch.Tensor:
    """As `requantize` for a `value` with the zero point in it: an odd one changes to which side a tie goes."""
    return value.round_().clamp_(result.format.qmin, result.format.qmax).sub_(result.zero_point).mul_(result.scale)


def convolution(
    x: torch.Tensor,
    source: ActivationQuantizer,
    weights: WeightQuantizer,
    result: ActivationQuantizer,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    *args: Any,
    **kwargs: Any,
) -> torch.Tensor:
    """QLinearConv: exact sums of codes, times (input scale x weight scale / result scale) as one float32 number.

    Source: core/providers/cpu/quantization/qlinearconv.cc (output_scales), core/mlas/lib/quantize.cpp. Sums are exact
    in float32 as long as none can leave 2^24; where one could, they are made in float64.
    """
    scale = source.scale * weights.scale  # (C_out,)
    bias = None if bias is None else torch.div(bias, scale).round_()
    codes = torch.div(weight, weights.scale.view(-1, 1, 1, 1)).round_()
    codes.clamp_(-weights.format.qmax, weights.format.qmax)
    largest = codes.abs().flatten(1).sum(1) * max(map(abs, source.bounds))
    if bias is not None:
        largest += bias.abs()
    exact = torch.float32 if float(largest.max()) < 2**24 else torch.float64
    bias = None if bias is None else bias.to(exact)
    sums = F.conv2d(codes_of(x, source.scale).to(exact), codes.to(exact), bias, *args, **kwargs).float()
    return requantize(sums.mul_((scale / result.scale).view(1, -1, 1, 1)), result)


def multiply(
    a: torch.Tensor,
    a_range: ActivationQuantizer,
    b: torch.Tensor,
    b_range: ActivationQuantizer,
    result: ActivationQuantizer,
) -> torch.Tensor:
    """QLinearMul: the product of codes times (scale a x scale b / result scale), plus the zero point, then rounded.

    Source: core/mlas/lib/qlmul.cpp.
    """
    codes_a, codes_b = codes_of(a, a_range.scale), codes_of(b, b_range.scale)
    product = codes_a.mul_(codes_b) if a.shape == b.shape else codes_a * codes_b  # a squeeze-excite has one per channel
    product.mul_(a_range.scale * b_range.scale / result.scale)
    return from_raw_codes(product.add_(result.zero_point), result)


def add(
    a: torch.Tensor,
    a_range: ActivationQuantizer,
    b: torch.Tensor,
    b_range: ActivationQuantizer,
    result: ActivationQuantizer,
) -> torch.Tensor:
    """QLinearAdd: fused multiply-adds of the raw codes, the zero points in one constant.

    Source: core/mlas/lib/intrinsics/avx2/qladd_avx2.cpp, as compilers contract it: the constant's first product is
    fused too. A fused multiply-add rounds once: it is computed in float64 and rounded to float32.
    """
    ratio_a, ratio_b = (a_range.scale / result.scale).double(), (b_range.scale / result.scale).double()
    offset_b = (ratio_b.float() * b_range.zero_point).double()
    constant = result.zero_point - (ratio_a * a_range.zero_point + offset_b).float()
    raw_a = codes_of(a, a_range.scale).add_(a_range.zero_point)
    raw_b = codes_of(b, b_range.scale).add_(b_range.zero_point)
    partial = (raw_b.double() * ratio_b + constant.double()).float()
    total = (raw_a.double() * ratio_a + partial.double()).float()
    return from_raw_codes(total, result)


def attention_scores(
    q: torch.Tensor, q_range: ActivationQuantizer, k: torch.Tensor, k_range: ActivationQuantizer
) -> torch.Tensor:
    """MatMulInteger and Cast: k^T q of codes, (..., C, N) twice -> (..., N keys, N queries) of whole numbers."""
    return _product(codes_of(k, k_range.scale).mT, codes_of(q, q_range.scale), q.shape[-2])


def attention_exponents(scores: torch.Tensor, code_scale: float, exponents: ActivationQuantizer) -> torch.Tensor:
    """The fake-quantized exponents of a softmax over keys (axis -2) of such `scores`.

    `code_scale` is the scale of the exponents' codes in units of the scores.
    """
    below = scores - scores.amax(-2, keepdim=True)
    scale = torch.tensor(code_scale, dtype=torch.float32, device=scores.device)
    return requantize(below.div_(scale), exponents)


def attention_values(
    v: torch.Tensor, v_range: ActivationQuantizer, weights: torch.Tensor, weights_range: ActivationQuantizer
) -> torch.Tensor:
    """The mean of v (..., C, N keys) by weights (..., N keys, N queries): (..., C, N queries), before its quantizer."""
    codes = codes_of(weights, weights_range.scale)
    sums = _product(codes_of(v, v_range.scale), codes, v.shape[-1])
    return sums.div_(codes.double().sum(-2, keepdim=True).float()).mul_(v_range.scale)


def _product(a: torch.Tensor, b: torch.Tensor, terms: int) -> torch.Tensor:
    """The product of matrices of codes less zero points, exact, then rounded to float32 as Cast does."""
    exact = torch.float32 if 255 * 255 * terms < 2**24 else torch.float64
    return (a.to(exact) @ b.to(exact)).float()
