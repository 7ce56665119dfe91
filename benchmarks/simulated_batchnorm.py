"""BatchNorm simulated instead of folded for good: the alternative that benchmarks/descent_choices.py measures.

The convolution keeps its raw weight; what is quantized is the raw weight times gamma / sigma, and the bias
beta - mu gamma / sigma (Jacob et al. 2018, section 3.2). `live` lets mu and sigma follow the batches, which costs a
second, float convolution; otherwise they are frozen.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

_MOMENTUM = 0.03  # of live statistics, as Ultralytics' BatchNorm


class _Norm(nn.Module):
    """A BatchNorm's statistics (buffers) and gain; the offset is the bias's own parameter."""

    def __init__(self, bn: nn.BatchNorm2d) -> None:
        super().__init__()
        self.gain = nn.Parameter(bn.weight.detach().clone())
        self.register_buffer("mean", bn.running_mean.clone())
        self.register_buffer("var", bn.running_var.clone())
        self.eps = bn.eps

    def factor(self) -> torch.Tensor:
        return self.gain / (self.var + self.eps).sqrt()


class _Weight(nn.Module):
    def __init__(self, norm: _Norm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, raw: torch.Tensor) -> torch.Tensor:
        return raw * self.norm.factor().view(-1, 1, 1, 1)

    def right_inverse(self, folded: torch.Tensor) -> torch.Tensor:
        return folded / self.norm.factor().view(-1, 1, 1, 1)


class _Bias(nn.Module):
    def __init__(self, norm: _Norm) -> None:
        super().__init__()
        self.norm = [norm]  # registered once, with the weight

    def forward(self, offset: torch.Tensor) -> torch.Tensor:
        return offset - self.norm[0].mean * self.norm[0].factor()

    def right_inverse(self, folded: torch.Tensor) -> torch.Tensor:
        return folded + self.norm[0].mean * self.norm[0].factor()


def simulate(deployed: nn.Module, undeployed: Any, *, live: bool) -> int:
    """Gives every folded convolution of `deployed` its BatchNorm of `undeployed` back; returns how many."""
    count = 0
    for name, module in undeployed.named_modules():
        conv, bn = getattr(module, "conv", None), getattr(module, "bn", None)
        if not isinstance(bn, nn.BatchNorm2d) or conv is None:
            continue
        target: Any = deployed.get_submodule(f"{name}.conv")
        norm = _Norm(bn)
        parametrize.register_parametrization(target, "weight", _Weight(norm))
        parametrize.register_parametrization(target, "bias", _Bias(norm))
        if live:
            target.register_forward_pre_hook(_follow)
        count += 1
    return count


@torch.no_grad()
def _follow(conv: Any, inputs: Any) -> None:
    if not conv.training:
        return
    raw, norm = conv.parametrizations.weight.original, conv.parametrizations.weight[0].norm
    y = F.conv2d(inputs[0], raw, None, conv.stride, conv.padding, conv.dilation, conv.groups)
    var, mean = torch.var_mean(y, dim=(0, 2, 3))
    norm.mean.lerp_(mean, _MOMENTUM)
    norm.var.lerp_(var, _MOMENTUM)
