"""BatchNorm over the images of all processes, as one device would have it; on CPUs too, where torch's refuses.

The mean and the variance of a channel are sums over all images, made of those of the processes' shares; so are the sums
of gradients that come back through them (Ioffe and Szegedy 2015, algorithm 1).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from edgegd.descent.ranks import Ranks


class SynchronizedBatchNorm(nn.BatchNorm2d):
    """A BatchNorm2d whose statistics in training are those of the images (N, C, H, W) of all processes.

    `idle` is set where this process's images are no part of the batch.
    """

    ranks = Ranks()
    idle = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As BatchNorm2d's; in training all processes call it in the same order."""
        if not self.training:
            return super().forward(x)
        weight = 0.0 if self.idle else 1.0
        count = x.new_tensor(weight * x.numel() / x.shape[1])
        total = self._over_all(torch.cat([x.sum((0, 2, 3)) * weight, count[None]]))
        mean, values = total[:-1] / total[-1], total[-1].detach()
        centred = x - mean[:, None, None]
        variance = self._over_all(centred.square().sum((0, 2, 3)) * weight) / values
        with torch.no_grad():
            momentum = 0.0 if self.momentum is None else self.momentum
            assert self.running_mean is not None and self.running_var is not None
            self.running_mean.lerp_(mean.detach(), momentum)
            self.running_var.lerp_(variance.detach() * values / (values - 1).clamp(min=1), momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        normal = centred * (variance + self.eps).rsqrt()[:, None, None]
        return normal if self.weight is None else normal * self.weight[:, None, None] + self.bias[:, None, None]

    def _over_all(self, value: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor = _Sum.apply(value, self.ranks)  # type: ignore[no-untyped-call]
        return total


class _Sum(torch.autograd.Function):
    """The sum over all processes; so is the gradient, because every process has used it."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, ranks: Ranks) -> torch.Tensor:  # type: ignore[override]
        ctx.ranks = ranks
        return ranks.sum(value)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        return ctx.ranks.sum(gradient.contiguous()), None


def has_live_norms(model: nn.Module) -> bool:
    """Whether a model has BatchNorm that is not folded."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def synchronize_norms(model: nn.Module, ranks: Ranks) -> list[SynchronizedBatchNorm]:
    """In place: makes every BatchNorm2d of a model one over all processes, with its own parameters and statistics."""
    found: list[SynchronizedBatchNorm] = []
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SynchronizedBatchNorm
        if isinstance(module, SynchronizedBatchNorm):
            module.ranks = ranks
            found.append(module)
    return found
