"""Fake quantization in onnxruntime's arithmetic: saturate(round_half_even(x / scale) + zero_point), float32 division.

The division is a true one, as in onnxruntime's QuantizeLinear (core/mlas/lib/quantize.cpp); torch's own
fake_quantize multiplies by the reciprocal and differs on half-way values. These few in-place passes also run three
times faster on a CPU than torch's kernel (benchmarks/fake_quantize.py). The gradient is straight through: passed inside
the range, zero outside (Jacob et al. 2018, section 3).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from edgegd.quant.formats import Format

# A scale below this cannot be divided by in float32 without overflow of ordinary activations.
SMALLEST_SCALE = 1e-12
_INT32_MAX = 2**31 - 1
# The int32 accumulator holds bias and products: half of it is left for the products (33 thousand of 255 * 127).
_LARGEST_BIAS_CODE = 2**30


class FakeQuantizeActivation(torch.autograd.Function):
    """codes = clamp(round(x / scale), qmin - zp, qmax - zp); result = codes * scale, float32, same shape as x.

    Exports to ONNX as QuantizeLinear and DequantizeLinear with a uint8 zero point.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: torch.Tensor, scale_value: float, zero_point: int,
                qmin: int, qmax: int) -> torch.Tensor:
        low, high = qmin - zero_point, qmax - zero_point
        ctx.save_for_backward(x)
        ctx.bounds = ((low - 0.5) * scale_value, (high + 0.5) * scale_value)
        return torch.div(x, scale).round_().clamp_(low, high).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradients[0], x, *ctx.bounds), None, None, None, None, None

    @staticmethod
    def symbolic(g: Any, x: Any, scale: Any, scale_value: float, zero_point: int, qmin: int, qmax: int) -> Any:
        scale_node = g.op("Constant", value_t=torch.tensor(scale_value, dtype=torch.float32))
        zero_node = g.op("Constant", value_t=torch.tensor(zero_point, dtype=torch.uint8 if qmin == 0 else torch.int8))
        return g.op("DequantizeLinear", g.op("QuantizeLinear", x, scale_node, zero_node), scale_node, zero_node)


class FakeQuantizeWeight(torch.autograd.Function):
    """round(w / scale) * scale with one scale an output channel (dimension 0), float32; exports as Q/DQ with axis 0.

    The scale is the largest weight of the channel over qmax, so nothing saturates and the gradient passes unchanged.
    """

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return torch.div(weight, scale).round_().mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        return gradients[0], None

    @staticmethod
    def symbolic(g: Any, weight: Any, scale: Any) -> Any:
        values = scale.node().t("value") if scale.node().kind() == "onnx::Constant" else None
        if values is not None:
            scale = g.op("Constant", value_t=values.flatten())
        else:
            scale = g.op("Reshape", scale, g.op("Constant", value_t=torch.tensor([-1])))
        zero = g.op("Constant", value_t=torch.zeros(weight.type().sizes()[0], dtype=torch.int8))
        return g.op("DequantizeLinear", g.op("QuantizeLinear", weight, scale, zero, axis_i=0), scale, zero, axis_i=0)


class ActivationQuantizer(nn.Module):
    """One range of a scale group: buffers `scale` (float32, scalar) and `zero_point` (int32, scalar)."""

    scale: torch.Tensor
    zero_point: torch.Tensor

    def __init__(self, fmt: Format) -> None:
        super().__init__()
        self.format = fmt
        self.register_buffer("scale", torch.tensor(1.0))
        self.register_buffer("zero_point", torch.tensor(0, dtype=torch.int32))
        # Python numbers of the buffers: read once, not at every call.
        self._scale_value, self._zero_point_value = 1.0, 0

    @property
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest code, less the zero point."""
        return self.format.qmin - self._zero_point_value, self.format.qmax - self._zero_point_value

    def set_range(self, scale: float, zero_point: int) -> None:
        """Sets the range; ValueError for a scale that is not finite and positive or a zero point outside the codes."""
        if not SMALLEST_SCALE <= scale < float("inf") or not self.format.qmin <= zero_point <= self.format.qmax:
            raise ValueError(f"no range of {self.format.name}: scale {scale}, zero point {zero_point}")
        self.scale.fill_(scale)
        self.zero_point.fill_(zero_point)
        self._read_buffers()

    def _read_buffers(self) -> None:
        self._scale_value, self._zero_point_value = float(self.scale), int(self.zero_point)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._read_buffers()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Fake-quantizes a float32 tensor of any shape."""
        return FakeQuantizeActivation.apply(
            x, self.scale, self._scale_value, self._zero_point_value, self.format.qmin, self.format.qmax
        )


class WeightQuantizer(nn.Module):
    """The scales of one convolution's output channels: buffer `scale`, float32 (C_out,), tied to the weights."""

    scale: torch.Tensor

    def __init__(self, fmt: Format, channels: int) -> None:
        super().__init__()
        self.format = fmt
        self.register_buffer("scale", torch.ones(channels))

    @torch.no_grad()
    def follow(self, weight: torch.Tensor, bias: torch.Tensor | None, input_scale: torch.Tensor) -> None:
        """Sets each channel's scale to max |w| / qmax; larger where the int32 bias would overflow (dead channels)."""
        scale = weight.detach().abs().amax(dim=(1, 2, 3)).div_(self.format.qmax)
        if bias is not None:
            scale = torch.maximum(scale, bias.detach().abs() / (input_scale * _LARGEST_BIAS_CODE))
        self.scale.copy_(scale.clamp_(min=SMALLEST_SCALE))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Fake-quantizes a weight of shape (C_out, C_in / groups, kH, kW)."""
        return FakeQuantizeWeight.apply(weight, self.scale.view(-1, 1, 1, 1))


def fake_quantize_bias(bias: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The bias (C_out,) as int32 codes of scale input scale x weight scale (C_out,), as QLinearConv adds it."""
    codes = torch.div(bias.detach(), scale).round_().clamp_(-_INT32_MAX, _INT32_MAX)
    return bias + (codes.mul_(scale) - bias.detach())  # straight-through gradient
