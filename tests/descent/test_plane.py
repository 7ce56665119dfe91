"""The plane through a descent's points. Oracles: the states themselves; Li et al.'s definition, filter by filter."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from edgegd.descent.path import filters_of, weight_sample
from edgegd.descent.plane import Plane, filter_normalized

State = dict[str, torch.Tensor]


def moved(state: State, seed: int, size: float) -> State:
    """Another state: every tensor of floats changed by normal numbers of `size` times its own mean magnitude."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: value + size * value.abs().mean() * torch.randn(value.shape, generator=generator)
        if value.is_floating_point()
        else value.clone()
        for name, value in state.items()
    }


@pytest.fixture(scope="module")
def start(calibrated: Any) -> State:
    """A calibrated model's state."""
    return {name: value.clone() for name, value in calibrated().state_dict().items()}


@pytest.fixture(scope="module")
def names(calibrated: Any) -> list[str]:
    """Its tensors with filters."""
    return list(filters_of(calibrated().model))


def length(start: State, state: State, names: list[str]) -> float:
    """How far a state is from the start by the definition: the mean over filters of (|d_f| / |w_f|)^2, and its root."""
    squares = []
    for name in names:
        for before, after in zip(start[f"model.{name}"], state[f"model.{name}"], strict=True):
            if norm := float(before.double().norm()):
                squares.append((float((after.double() - before.double()).norm()) / norm) ** 2)
    return math.sqrt(sum(squares) / len(squares))


def test_states_at_the_points_are_those_states_bit_for_bit(start: State, names: list[str]) -> None:
    best, last = moved(start, 1, 0.01), moved(start, 2, 0.02)
    plane = Plane(start, {"best": best, "last": last}, names, 0)
    assert [axis.towards for axis in plane.axes] == ["best", "last"]
    for state in (start, best, last):
        place = plane.coordinates(state)
        found = plane.state(*place)
        assert found.keys() == state.keys()
        assert all(torch.equal(found[name], value) for name, value in state.items())
    assert plane.coordinates(start) == (0.0, 0.0)
    x, y = plane.coordinates(best)
    assert x == pytest.approx(length(start, best, names), rel=1e-9) and y == pytest.approx(0, abs=1e-9)
    assert math.hypot(*plane.coordinates(last)) == pytest.approx(length(start, last, names), rel=1e-9)
    assert plane.axes[0].length == pytest.approx(x) and plane.coordinates(last)[1] == pytest.approx(
        plane.axes[1].length
    )


def test_distances_in_the_plane_are_distances_of_filters(start: State, names: list[str]) -> None:
    plane = Plane(start, {"best": moved(start, 1, 0.01), "last": moved(start, 2, 0.02)}, names, 0)
    for place in ((0.01, 0.0), (0.0, 0.01), (0.03, -0.04)):
        assert length(start, plane.state(*place), names) == pytest.approx(math.hypot(*place), rel=1e-3)


def test_a_random_direction_has_the_norms_of_the_filters(start: State, names: list[str]) -> None:
    plane = Plane(start, {}, names, 0)
    direction = plane.random_direction(torch.Generator().manual_seed(5))
    for name in names:
        for drawn, weight in zip(direction[name], start[f"model.{name}"], strict=True):
            assert float(drawn.norm()) == pytest.approx(float(weight.double().norm()), rel=1e-9)
    # So its length is 1, by the measure and by hand.
    assert plane.inner(*[{f"model.{k}": v for k, v in direction.items()}] * 2) == pytest.approx(1, rel=1e-9)
    assert torch.equal(filter_normalized(torch.ones(2, 3), torch.zeros(2, 3)), torch.zeros(2, 3))


def test_points_without_a_direction_leave_it_to_the_dice(start: State, names: list[str]) -> None:
    best = moved(start, 1, 0.01)
    floats = [name for name, value in start.items() if value.is_floating_point()]
    in_line = {**best, **{name: start[name] + 2 * (best[name] - start[name]) for name in floats}}
    same = {name: value.clone() for name, value in start.items()}
    cases: list[tuple[dict[str, State], list[str]]] = [
        ({"best": same, "last": best}, ["last", ""]),
        ({"best": best, "last": best}, ["best", ""]),
        ({"best": best}, ["best", ""]),
        ({"best": same, "last": same}, ["", ""]),
        ({"best": best, "last": in_line}, ["best", ""]),  # but for float32's rounding
    ]
    for points, towards in cases:
        plane = Plane(start, points, names, 0)
        assert [axis.towards for axis in plane.axes] == towards
        u, v = plane._directions
        assert plane.inner(u, u) == pytest.approx(1) and plane.inner(v, v) == pytest.approx(1)
        assert plane.inner(u, v) == pytest.approx(0, abs=1e-9)
        # Biases and ranges have no filters: a random direction leaves them.
        assert set(v) == {f"model.{name}" for name in names}
    again, other = Plane(start, {"best": best}, names, 0), Plane(start, {"best": best}, names, 1)
    plane = Plane(start, {"best": best}, names, 0)
    first = f"model.{names[0]}"
    assert torch.equal(plane.state(0, 1)[first], again.state(0, 1)[first])
    assert not torch.equal(plane.state(0, 1)[first], other.state(0, 1)[first])


def test_sampled_weights_find_their_place(start: State, names: list[str]) -> None:
    best, last = moved(start, 1, 0.01), moved(start, 2, 0.02)
    plane = Plane(start, {"best": best, "last": last}, names, 0)
    sample = weight_sample(plane.filters)

    def row(state: State) -> torch.Tensor:
        return sample.of({name: state[f"model.{name}"] for name in names}).float()

    outside = moved(start, 3, 0.01)  # almost wholly out of the plane
    half = plane.state(*(value / 2 for value in plane.coordinates(last)))
    rows = torch.stack([row(state) for state in (start, best, last, half, outside)])
    places, shares = plane.coordinates_of_samples(rows, sample)
    for found, state in zip(places[:4], (start, best, last, half), strict=True):
        # What lies in the plane is found exactly (float32 of the rows), however few weights are looked at.
        assert found.tolist() == pytest.approx(plane.coordinates(state), abs=1e-6)
    assert math.isnan(float(shares[0])) and shares[1:4].tolist() == pytest.approx([1, 1, 1], abs=1e-4)
    assert float(shares[4]) < 0.05
    assert places[4].tolist() == pytest.approx(plane.coordinates(outside), abs=0.1 * length(start, outside, names))
