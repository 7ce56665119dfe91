"""An exponential moving average of everything that learns, in float32."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from edgegd.detectors.student import Student


class MovingAverage:
    """The average of a student's parameters, weights and ranges, over the steps.

    Where BatchNorm is live, its running means and variances are averaged too: averaged weights need their own.

    The decay rises from 0.1 to `decay` as min(decay, (1 + n) / (10 + n)) after n steps, so that a short training is
    averaged over its own length and not dominated by where it started.
    """

    def __init__(self, student: Student, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self._parameters = [parameter.data for parameter in student.parameters()] + _running_statistics(student)
        self._average = [value.detach().clone().float() for value in self._parameters]
        self._index = {id(parameter): index for index, parameter in enumerate(student.parameters())}

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the parameters after one step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self._average, self._parameters, 1 - decay)

    @contextmanager
    def applied(self, student: Student) -> Iterator[None]:
        """Within it, the student has the averaged parameters, and ranges and scales that fit them."""
        own = [parameter.clone() for parameter in self._parameters]
        self._set(student, self._average)
        try:
            yield
        finally:
            self._set(student, own)

    def _set(self, student: Student, values: list[torch.Tensor]) -> None:
        torch._foreach_copy_(self._parameters, values)
        student.update_ranges()

    @torch.no_grad()
    def hand_over(self, parameters: Iterable[nn.Parameter]) -> None:
        """Gives parameters their averages for good: the two are equal afterwards."""
        for parameter in parameters:
            parameter.copy_(self._average[self._index[id(parameter)]])

    def of(self, parameter: nn.Parameter) -> torch.Tensor:
        """The average of one of the student's parameters; not to be written to."""
        return self._average[self._index[id(parameter)]]

    @torch.no_grad()
    def distance(self) -> float:
        """How far the parameters are from their average, as a share of the average's norm."""
        apart = torch._foreach_sub(self._parameters, self._average)
        lengths = [torch.linalg.vector_norm(torch.stack(torch._foreach_norm(x))) for x in (apart, self._average)]
        return float(lengths[0] / lengths[1]) if lengths[1] > 0 else 0.0

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The averages by the parameters' positions, those of running statistics after them."""
        return {str(index): average for index, average in enumerate(self._average)}

    def load_state_dict(self, state: Mapping[str, torch.Tensor], steps: int) -> None:
        """Takes over what `state_dict` returned, `steps` steps on; KeyError or RuntimeError if it does not fit."""
        self.steps = steps
        for index, average in enumerate(self._average):
            average.copy_(state[str(index)])


def _running_statistics(student: Student) -> list[torch.Tensor]:
    """The running means and variances of every BatchNorm; a deployed model has none."""
    norms = [module for module in student.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    found = [statistic for norm in norms for statistic in (norm.running_mean, norm.running_var)]
    return [statistic for statistic in found if statistic is not None]
