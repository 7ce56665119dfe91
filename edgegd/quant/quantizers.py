"""The modules that hold ranges: one for a scale group of activations, one for the weights of a convolution.

What learns is the logarithm of a scale: a step of the optimizer then changes every scale by the same fraction,
whatever its size (Jain et al. 2020, section 3.3), and no step can make it zero or negative.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from edgegd.plan.formats import LARGEST_BIAS_CODE, LARGEST_SCALE, SMALLEST_SCALE, UINT8_ACTIVATION, Format
from edgegd.quant.fake_quantize import FakeQuantizeActivation, FakeQuantizeWeight

_INT32_MAX = 2**31 - 1


class ActivationQuantizer(nn.Module):
    """One range of a scale group.

    Parameters `log_scale` (float32, scalar) and `shift` (float32, scalar: the zero point before rounding) learn, as
    far as `learns` allows ("range": both, "scale", "nothing"); buffers `scale` (float32) and `zero_point` (int32, of
    uint8 codes, whatever the profile) are what they amount to, and are all that is computed with.
    """

    scale: torch.Tensor
    zero_point: torch.Tensor

    def __init__(self, learns: str = "range") -> None:
        super().__init__()
        self.learns, self.format = learns, UINT8_ACTIVATION
        self.log_scale = nn.Parameter(torch.tensor(0.0), requires_grad=learns != "nothing")
        self.shift = nn.Parameter(torch.tensor(0.0), requires_grad=learns == "range")
        self.register_buffer("scale", torch.tensor(1.0))
        self.register_buffer("zero_point", torch.tensor(0, dtype=torch.int32))
        # Python numbers of the buffers: read once a step, not at every call.
        self._scale_value, self._zero_point_value = 1.0, 0

    @property
    def scale_value(self) -> float:
        """The scale as a number."""
        return self._scale_value

    @property
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest code, less the zero point."""
        return self.format.qmin - self._zero_point_value, self.format.qmax - self._zero_point_value

    @torch.no_grad()
    def set_range(self, scale: float, zero_point: int) -> None:
        """Sets the range; ValueError for a scale that is not finite and positive or a zero point outside the codes."""
        if not SMALLEST_SCALE <= scale <= LARGEST_SCALE or not self.format.qmin <= zero_point <= self.format.qmax:
            raise ValueError(f"no range of {self.format.name}: scale {scale}, zero point {zero_point}")
        self.overrule(scale, zero_point)
        self.log_scale.fill_(math.log(scale))
        self.shift.fill_(zero_point)

    @torch.no_grad()
    def overrule(self, scale: float, zero_point: int) -> None:
        """Sets what is computed with, and leaves the parameters, from which the next update derives it again."""
        self.scale.fill_(scale)
        self.zero_point.fill_(zero_point)
        self.read(float(self.scale), zero_point)

    def read(self, scale: float, zero_point: int) -> None:
        """Takes over the numbers of the buffers."""
        self._scale_value, self._zero_point_value = scale, zero_point

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.read(float(self.scale), int(self.zero_point))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Fake-quantizes a tensor of any shape; the result is float32."""
        result: torch.Tensor = FakeQuantizeActivation.apply(
            x, self.log_scale, self.shift, self.scale, self._scale_value, self.bounds
        )  # type: ignore[no-untyped-call]
        return result


@torch.no_grad()
def update_ranges(quantizers: Sequence[ActivationQuantizer]) -> None:
    """Projects the parameters of all ranges into their bounds and derives scales and zero points from them.

    A parameter that is not finite returns to the last valid range. One transfer from the device serves all.
    """
    if not quantizers:
        return
    log_scales = torch.stack([q.log_scale for q in quantizers])  # (G,)
    shifts = torch.stack([q.shift for q in quantizers])
    last_scales = torch.stack([q.scale for q in quantizers])
    last_zero_points = torch.stack([q.zero_point for q in quantizers])
    log_scales = torch.where(log_scales.isfinite(), log_scales, last_scales.log())
    log_scales.clamp_(math.log(SMALLEST_SCALE), math.log(LARGEST_SCALE))
    shifts = torch.where(shifts.isfinite(), shifts, last_zero_points.float())
    shifts.clamp_(quantizers[0].format.qmin, quantizers[0].format.qmax)
    scales = log_scales.exp().clamp_(SMALLEST_SCALE, LARGEST_SCALE)
    zero_points = shifts.round().to(torch.int32)
    torch._foreach_copy_([q.log_scale for q in quantizers], list(log_scales.unbind()))
    torch._foreach_copy_([q.shift for q in quantizers], list(shifts.unbind()))
    torch._foreach_copy_([q.scale for q in quantizers], list(scales.unbind()))
    torch._foreach_copy_([q.zero_point for q in quantizers], list(zero_points.unbind()))
    numbers = torch.stack((scales.double(), zero_points.double())).tolist()
    for quantizer, scale, zero_point in zip(quantizers, *numbers, strict=True):
        quantizer.read(scale, int(zero_point))


class WeightQuantizer(nn.Module):
    """The scales of one convolution's output channels: buffer `scale`, float32 (C_out,).

    They are tied to the weights (the largest of a channel has the largest code); with `learned` derived from the
    parameter `log_scale` (C_out,); or kept as `keep` set them, because the weights were rounded for them.
    """

    scale: torch.Tensor
    kept: torch.Tensor

    def __init__(self, fmt: Format, channels: int, *, learned: bool = False) -> None:
        super().__init__()
        self.format = fmt
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("kept", torch.tensor(False))
        self.log_scale = nn.Parameter(torch.zeros(channels)) if learned else None
        self._kept = False  # a Python value of the buffer, as in ActivationQuantizer

    @torch.no_grad()
    def tie(self, weight: torch.Tensor, bias: torch.Tensor | None, input_scale: torch.Tensor) -> None:
        """Sets each channel's scale to max |w| / qmax; larger where the int32 bias would overflow (dead channels)."""
        self._keep(False)
        scale = weight.detach().abs().flatten(1).amax(1).div_(self.format.qmax)
        self._set(scale, bias, input_scale)

    @torch.no_grad()
    def keep(self, scale: torch.Tensor, bias: torch.Tensor | None, input_scale: torch.Tensor) -> None:
        """Sets the scales (C_out,), which from now on stay whatever the weights become (or learn, if they do)."""
        self._keep(True)
        self._set(scale.clone(), bias, input_scale)

    @torch.no_grad()
    def update(self, weight: torch.Tensor, bias: torch.Tensor | None, input_scale: torch.Tensor) -> None:
        """Derives the scale from what it is made of: the weights, the learned logarithm, or what was kept."""
        if self.log_scale is not None:
            log_scale = torch.where(self.log_scale.isfinite(), self.log_scale, self.scale.log())
            self._set(log_scale.exp(), bias, input_scale)
        elif self._kept:
            self._set(self.scale.clone(), bias, input_scale)
        else:
            self.tie(weight, bias, input_scale)

    def _keep(self, kept: bool) -> None:
        if kept != self._kept:
            self.kept.fill_(kept)
            self._kept = kept

    def _set(self, scale: torch.Tensor, bias: torch.Tensor | None, input_scale: torch.Tensor) -> None:
        if bias is not None:
            scale = torch.maximum(scale, bias.detach().abs() / (input_scale * LARGEST_BIAS_CODE))
        self.scale.copy_(scale.clamp_(SMALLEST_SCALE, LARGEST_SCALE))
        if self.log_scale is not None:
            self.log_scale.copy_(self.scale.log())

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._kept = bool(self.kept)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Fake-quantizes a weight of shape (C_out, C_in / groups, kH, kW)."""
        result: torch.Tensor = FakeQuantizeWeight.apply(weight.float(), self.log_scale, self.scale, self.format.qmax)  # type: ignore[no-untyped-call]
        return result


def fake_quantize_bias(bias: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The bias (C_out,) as int32 codes of scale input scale x weight scale (C_out,), as QLinearConv adds it."""
    codes = torch.div(bias.detach(), scale).round_().clamp_(-_INT32_MAX, _INT32_MAX)
    return bias + (codes.mul_(scale) - bias.detach())  # straight-through gradient
