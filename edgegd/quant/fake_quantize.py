"""Fake quantization in onnxruntime's arithmetic: saturate(round_half_even(x / scale) + zero_point), float32 division.

The division is a true one, as in onnxruntime's QuantizeLinear (core/mlas/lib/quantize.cpp); torch's own
fake_quantize multiplies by the reciprocal and differs on half-way values.

Let y = (clamp(round(x / s) + z, qmin, qmax) - z) s. Its gradient is straight through (Jacob et al. 2018, section 3):
dy/dx is 1 inside the range and 0 outside. For the range it is that of LSQ (Esser et al. 2020, section 2.1) and LSQ+
(Bhalgat et al. 2020, section 3.1): dy/ds = (y - x) / s inside and y / s outside; dy/dz = 0 inside and -s outside.
Summed with the gradient g of the result, and with d = g inside and 0 outside, which is the gradient of x,

    dL/ds = (g . y - d . x) / s        dL/dz = -s (sum g - sum d)

so that the whole gradient of a range costs two dot products and two sums.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

_CHUNK = 1 << 17  # elements a thread: with all passes over one chunk at a time, it stays in the L2 cache (512 KiB)


def chunks(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Flat views of equal pieces of contiguous tensors of one size, small enough for the cache on a CPU.

    Four passes over a large tensor then take less than half the time (benchmarks/fake_quantize.py).
    """
    flat = [tensor.view(-1) for tensor in tensors]
    size = _CHUNK * torch.get_num_threads()
    if flat[0].is_cuda or len(flat[0]) <= size:
        return iter([tuple(flat)])
    return zip(*(tensor.split(size) for tensor in flat), strict=True)


def lsq_factor(elements: int, qmax: int) -> float:
    """LSQ's scaling of a range's gradient, 1 / sqrt(N Qp) (Esser et al. 2020, section 2.2)."""
    return 1 / math.sqrt(max(elements, 1) * qmax)


class FakeQuantizeActivation(torch.autograd.Function):
    """(clamp(round(x / s) + z) - z) * s; float32, same shape as x; gradients of x, of log s and of z.

    `limits` are the smallest and the largest code less the zero point, `scale_value` is s as a number.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        log_scale: torch.Tensor,
        shift: torch.Tensor,
        scale: torch.Tensor,
        scale_value: float,
        limits: tuple[int, int],
    ) -> torch.Tensor:
        x = x.float().contiguous()  # under autocast a convolution's result is 16 bits wide: ranges are not
        y = torch.empty_like(x)
        for part, out in chunks(x, y):
            torch.div(part, scale, out=out)
            out.round_().clamp_(*limits).mul_(scale)
        ctx.learns = ctx.needs_input_grad[1:3]
        ctx.save_for_backward(*((x, y) if any(ctx.learns) else (x,)))
        ctx.range = scale_value, limits
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        x, *results = ctx.saved_tensors
        scale, limits = ctx.range
        return *_backward(gradients[0].contiguous(), x, results, scale, limits, ctx.learns), None, None, None


class FakeQuantizeSiLU(torch.autograd.Function):
    """The SiLU of a fake-quantized x as onnxruntime runs it: q(x * q'(sigmoid(x))), q' of the sigmoid's own range.

    One function, because a chunk of x then goes through all eleven passes in the cache. The gradient of x is that of
    the float SiLU at x, straight through both quantizers; the range of the sigmoid, whose values are known, learns
    nothing.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        log_scale: torch.Tensor,
        shift: torch.Tensor,
        scale: torch.Tensor,
        scale_value: float,
        limits: tuple[int, int],
        gate_scale: torch.Tensor,
        gate_limits: tuple[int, int],
    ) -> torch.Tensor:
        product, y = torch.empty_like(x), torch.empty_like(x)
        for part, m, out in chunks(x, product, y):
            torch.sigmoid(part, out=m)
            m.div_(gate_scale).round_().clamp_(*gate_limits).mul_(gate_scale).mul_(part)
            torch.div(m, scale, out=out)
            out.round_().clamp_(*limits).mul_(scale)
        ctx.learns = ctx.needs_input_grad[1:3]
        ctx.save_for_backward(x, product, *((y,) if any(ctx.learns) else ()))
        ctx.range = scale_value, limits
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        x, product, *results = ctx.saved_tensors
        scale, limits = ctx.range
        inside, log_scale, shift = _backward(
            gradients[0].contiguous(), product, results, scale, limits, ctx.learns, through=x
        )
        return inside, log_scale, shift, None, None, None, None, None


def _backward(
    gradient: torch.Tensor,
    x: torch.Tensor,
    results: list[torch.Tensor],
    scale: float,
    limits: tuple[int, int],
    learns: tuple[bool, bool],
    through: torch.Tensor | None = None,
) -> Any:
    """Gradients of x, log scale and shift; that of x is carried on through a SiLU of `through` where it is given.

    `x` was quantized to `results` (one tensor; none where nothing of the range learns).
    """
    bounds = (limits[0] - 0.5) * scale, (limits[1] + 0.5) * scale
    inside = torch.empty_like(x)
    sums = []
    for g, part, out, *rest in chunks(gradient, x, inside, *results, *(() if through is None else (through,))):
        torch.ops.aten.hardtanh_backward.grad_input(g, part, *bounds, grad_input=out)
        if results:
            sums.append(torch.stack((torch.dot(g, rest[0]) - torch.dot(out, part), g.sum() - out.sum())))
        if through is not None:
            torch.ops.aten.silu_backward.grad_input(out, rest[-1], grad_input=out)
    if not results:
        return inside, None, None
    by_scale, saturated = torch.stack(sums).sum(0).mul_(lsq_factor(x[0].numel(), limits[1] - limits[0])).unbind()
    # dL/d(log s) = s dL/ds.
    return inside, by_scale if learns[0] else None, saturated.mul(-scale) if learns[1] else None


class FakeQuantizeWeight(torch.autograd.Function):
    """clamp(round(w / s)) * s with one scale an output channel (dimension 0), float32; gradients of w and of log s.

    A scale that is tied to the largest weight of its channel saturates nothing: the gradient passes unchanged.
    """

    @staticmethod
    def forward(
        ctx: Any, weight: torch.Tensor, log_scale: torch.Tensor | None, scale: torch.Tensor, qmax: int
    ) -> torch.Tensor:
        per_channel = scale.view(-1, *[1] * (weight.ndim - 1))
        codes = torch.div(weight, per_channel).round_().clamp_(-qmax, qmax)
        result = codes.mul_(per_channel)
        ctx.learns = ctx.needs_input_grad[1]
        if ctx.learns:
            ctx.save_for_backward(weight, result, per_channel)
            ctx.qmax = qmax
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (gradient,) = gradients
        if not ctx.learns:
            return gradient, None, None, None
        weight, result, scale = ctx.saved_tensors
        inside = gradient * (weight.abs() <= scale * (ctx.qmax + 0.5))
        by_channel = (gradient * result - inside * weight).flatten(1).sum(1)
        return inside, by_channel.mul_(lsq_factor(weight[0].numel(), ctx.qmax)), None, None
