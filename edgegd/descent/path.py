"""The way of a descent's weights, recorded at little cost: a sample of them, and of their moving average, now and then.

The plane through a descent's start, best and last point is known only at its end, and all weights of all steps would be
gigabytes. So a fixed sample of the convolution weights, SAMPLE numbers, is stored at MOST_ROWS steps at most: a least
squares fit of it against the same sample of the plane's directions tells where in the plane the descent was
(edgegd.descent.plane). Nothing is drawn from torch's own generator, and nothing of the model is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import safetensors.torch
import torch
from torch import nn

from edgegd.descent.averaging import MovingAverage
from edgegd.detectors.student import Student
from edgegd.quant.attach import QuantizedModel

SAMPLE = 4096
MOST_ROWS = 256
_SEED = 20180


@dataclass(frozen=True)
class WeightSample:
    """`positions` by parameter name, and for each number drawn how many weights it stands for (`counts`, (n,))."""

    positions: dict[str, torch.Tensor]
    counts: torch.Tensor

    def of(self, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The sample (n,) of tensors by name, in the order of `positions`."""
        return torch.cat([tensors[name].detach().flatten()[chosen] for name, chosen in self.positions.items()])


def filters_of(model: nn.Module) -> dict[str, nn.Parameter]:
    """What learns of a model and has filters along its first axis: the weights of convolutions and linear layers."""
    return {name: p for name, p in model.named_parameters() if p.ndim > 1 and p.requires_grad}


def weight_sample(weights: Mapping[str, torch.Tensor], size: int = SAMPLE) -> WeightSample:
    """The same sample for the same names and shapes: of each tensor a share as large as its share of all filters.

    In the plane's measure every filter counts alike (edgegd.descent.plane), whatever its number of weights.
    """
    filters = sum(len(weight) for weight in weights.values())
    generator = torch.Generator().manual_seed(_SEED)
    positions, counts = {}, []
    for name, weight in weights.items():
        drawn = min(max(1, round(size * len(weight) / max(filters, 1))), weight.numel())
        chosen = torch.randperm(weight.numel(), generator=generator)[:drawn].sort().values
        positions[name] = chosen.to(weight.device)
        counts.append(torch.full((drawn,), weight.numel() / drawn, dtype=torch.float64))
    return WeightSample(positions, torch.cat(counts))


@dataclass
class PathRecord:
    """The rows of one descent; `begin` is called before its first step, `take` after each.

    `steps` are those recorded (0 is the start), `weights` and `average` a row (n,) of each.
    """

    steps: list[int] = field(default_factory=list)
    weights: list[torch.Tensor] = field(default_factory=list)
    average: list[torch.Tensor] = field(default_factory=list)

    def begin(self, model: nn.Module, average: MovingAverage, steps: int, done: int = 0) -> None:
        """Chooses what is recorded of `steps` steps, `done` of which were taken, and records the start."""
        self._parameters = filters_of(model)
        self._sample = weight_sample(self._parameters)
        self._average, self._last = average, steps
        self._every = -(-steps // (MOST_ROWS - 1))
        if not self.steps:
            self.take(done)

    def take(self, step: int) -> None:
        """Records the parameters after `step` steps: every so many steps, and after the last one."""
        if step % self._every and step != self._last:
            return
        averages = {name: self._average.of(parameter) for name, parameter in self._parameters.items()}
        self.steps.append(step)
        self.weights.append(self._sample.of(self._parameters).float().cpu())
        self.average.append(self._sample.of(averages).cpu())

    def tensors(self) -> dict[str, torch.Tensor]:
        """`steps` int64 (R,), `weights` and `average` float32 (R, n): for checkpoints, and for the run's file."""
        if not self.steps:
            return {}
        steps = torch.tensor(self.steps, dtype=torch.int64)
        return {"steps": steps, "weights": torch.stack(self.weights), "average": torch.stack(self.average)}

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Goes on with the rows of a checkpoint; one of before there were any has none, and they begin then."""
        self.steps = tensors["steps"].tolist() if tensors else []
        self.weights = _rows(tensors, "weights")
        self.average = _rows(tensors, "average")


def _rows(tensors: Mapping[str, torch.Tensor], name: str) -> list[torch.Tensor]:
    rows: Sequence[torch.Tensor] = tensors[name].unbind() if tensors else ()
    return list(rows)


def path_bytes(student: Student, record: PathRecord) -> bytes:
    """A safetensors file of the student's state as `last/NAME` and the record as `path/NAME`, under its plan's hash."""
    tensors = {f"last/{name}": value for name, value in student.state_dict().items()}
    tensors |= {f"path/{name}": value for name, value in record.tensors().items()}
    stored = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    plan = {"plan_sha256": student.plan.sha256} if isinstance(student, QuantizedModel) else {}
    return safetensors.torch.save(stored, plan)
