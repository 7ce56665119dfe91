"""An exponential moving average of everything that learns, in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class MovingAverage:
    """The average of a model's parameters over the steps.

    The decay rises from 0.1 to `decay` as min(decay, (1 + n) / (10 + n)) after n steps, so that a short training is
    averaged over its own length and not dominated by where it started.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self._average = {name: p.detach().clone().float() for name, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Takes in the parameters after one step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, parameter in model.named_parameters():
            self._average[name].lerp_(parameter.detach().float(), 1 - decay)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Within it, the model has the averaged parameters."""
        own = {name: p.detach().clone() for name, p in model.named_parameters()}
        self._copy(model, self._average)
        try:
            yield
        finally:
            self._copy(model, own)

    @staticmethod
    @torch.no_grad()
    def _copy(model: nn.Module, values: dict[str, torch.Tensor]) -> None:
        for name, parameter in model.named_parameters():
            parameter.copy_(values[name])
