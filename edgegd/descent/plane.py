"""The plane of weights through three points of a descent, measured by filters.

A network computes the same when a filter is doubled and the next layer halved, so that plain distances between weights
say little. Li et al. 2018 ("Visualizing the Loss Landscape of Neural Nets", section 4) therefore give every filter of a
direction the norm of the model's own filter. Here the same is the measure: <u, v> is the mean over the filters f of
<u_f, v_f> / |w_f|^2, w being the start. A direction of length 1 changes every filter by its own norm, and a random one
that is filter-normalized has length 1. So the plane passes through its three points exactly and is still measured in
shares of the filters. Biases and ranges have no filters: they go along, and count nothing.

    state(x, y) = start + x u + y v,   <u, u> = <v, v> = 1,  <u, v> = 0
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from edgegd.descent.path import WeightSample

State = Mapping[str, torch.Tensor]
_PREFIX = "model."
_NO_DIRECTION = 1e-4
"""Of its length: a direction that is nearer to those before it than this adds none but the rounding of float32."""


@dataclass(frozen=True)
class Axis:
    """What one of the two directions is: `towards` a point by its name, or empty for a random one."""

    towards: str
    length: float
    """How far that point is from the start, across the axes before this one; 0 for a random one."""


class Plane:
    """The plane through `start` and up to two other states; a direction that is missing is random.

    States are state_dicts of one quantized model, and `filters` names those of its tensors (without `model.`) that have
    filters. A point that is the start, or lies in line with the first, gives no direction: a random one,
    filter-normalized and drawn from `seed`, takes its place.
    """

    def __init__(self, start: State, points: Mapping[str, State], filters: list[str], seed: int) -> None:
        self.start = {name: value.detach().cpu() for name, value in start.items()}
        self._filters = filters
        self._inverse_squares = {name: _inverse_squares(self.start[_PREFIX + name]) for name in filters}
        self._count = max(sum(int((x > 0).sum()) for x in self._inverse_squares.values()), 1)
        self._directions: list[dict[str, torch.Tensor]] = []
        self.axes: list[Axis] = []
        for name, state in points.items():
            difference = self._difference(state)
            length = math.sqrt(self.inner(difference, difference))
            rest, left = self._without_directions(difference)
            if left > _NO_DIRECTION * length:
                self._directions.append({key: value / left for key, value in rest.items()})
                self.axes.append(Axis(name, left))
        generator = torch.Generator().manual_seed(seed)
        while len(self._directions) < 2:
            drawn = self.random_direction(generator)
            rest, left = self._without_directions({_PREFIX + name: value for name, value in drawn.items()})
            self._directions.append({key: value / left for key, value in rest.items()})
            self.axes.append(Axis("", 0.0))

    @property
    def filters(self) -> dict[str, torch.Tensor]:
        """The start's weights that have filters, by name."""
        return self._of_filters(self.start)

    def _difference(self, state: State) -> dict[str, torch.Tensor]:
        """A state less the start, in float64, of everything that is no integer."""
        floats = (name for name, value in self.start.items() if value.is_floating_point())
        return {name: state[name].detach().cpu().double() - self.start[name].double() for name in floats}

    def _without_directions(self, vector: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], float]:
        """What of a vector no direction has, and its length."""
        for direction in self._directions:
            along = self.inner(vector, direction)
            vector = {k: v - along * direction[k] if k in direction else v for k, v in vector.items()}
        return vector, math.sqrt(self.inner(vector, vector))

    def inner(self, u: State, v: State) -> float:
        """The product of two vectors by the measure above."""
        total = 0.0
        for name, weight in self._inverse_squares.items():
            a, b = (x[_PREFIX + name].flatten(1) for x in (u, v))
            total += float(((a * b).sum(1) * weight).sum())
        return total / self._count

    def random_direction(self, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Li et al.'s: normal numbers, every filter given the norm of the start's; by name, float64."""
        found = {}
        for name in self._filters:
            weight = self.start[_PREFIX + name].double()
            drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            found[name] = filter_normalized(drawn, weight)
        return found

    def coordinates(self, state: State) -> tuple[float, float]:
        """Where in the plane a state is, or is nearest to."""
        difference = self._difference(state)
        x, y = (self.inner(difference, direction) for direction in self._directions)
        return x, y

    def state(self, x: float, y: float) -> dict[str, torch.Tensor]:
        """The state at a place of the plane, to be loaded into the model; integers are the start's."""
        found = dict(self.start)
        for name in {**self._directions[0], **self._directions[1]}:
            value = self.start[name].double()
            for along, direction in zip((x, y), self._directions, strict=True):
                if name in direction:
                    value = value + along * direction[name]
            found[name] = value.to(self.start[name].dtype)
        return found

    def coordinates_of_samples(self, rows: torch.Tensor, sample: WeightSample) -> tuple[torch.Tensor, torch.Tensor]:
        """The places (R, 2) of rows (R, n) that hold a sample of weights, and how much of each row lies in the plane.

        By least squares over the sampled weights, each by its part in the measure. The share (R,) is that of the
        squared distance from the start; NaN where a row is the start.
        """
        measure = sample.counts / self._count * sample.of(self._spread())
        start = sample.of(self._of_filters(self.start)).double()
        directions = torch.stack([sample.of(self._of_filters(direction)) for direction in self._directions])  # (2, n)
        moved = rows.double() - start
        products = (directions * measure) @ directions.T  # (2, 2)
        places = torch.linalg.solve(products, (directions * measure) @ moved.T).T  # (R, 2)
        within = torch.einsum("ri,ij,rj->r", places, products, places)
        return places, within / (moved.square() @ measure)

    def _of_filters(self, state: State) -> dict[str, torch.Tensor]:
        return {name: state[_PREFIX + name] for name in self._filters}

    def _spread(self) -> dict[str, torch.Tensor]:
        """The measure's factor of every single weight."""
        spread = {}
        for name, weight in self._inverse_squares.items():
            shape = self.start[_PREFIX + name].shape
            spread[name] = weight.view(-1, *[1] * (len(shape) - 1)).expand(shape)
        return spread


def filter_normalized(direction: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A direction (F, ...) whose every filter has the norm of the weight's (F, ...): d_f |w_f| / |d_f|."""
    norms = [x.flatten(1).norm(dim=1) for x in (direction, weight)]
    return direction * (norms[1] / norms[0].clamp(min=1e-300)).view(-1, *[1] * (direction.ndim - 1))


def _inverse_squares(weight: torch.Tensor) -> torch.Tensor:
    """1 / |w_f|^2 of each filter (F,), 0 for one of zeros, which no direction moves."""
    squares = weight.double().flatten(1).square().sum(1)
    return torch.where(squares > 0, 1 / squares.clamp(min=1e-300), 0.0)
