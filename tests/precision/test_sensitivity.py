"""Noise at the head when single operations are quantized; oracle: the model run by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from edgegd.detectors.deployment import head_paths, plan_detector, trace_detector
from edgegd.plan.quant_plan import QuantPlan
from edgegd.precision.assembly import float_addresses, units_of
from edgegd.precision.sensitivity import HeadNoise, PartlyQuantized, head_tensors, to_db

FLOAT_NOISE = 1e-7  # float32 sums in another order: the pixels, of which the plan makes codes, are the last bits apart


@pytest.fixture(scope="module")
def head(small: Any) -> tuple[str, ...]:
    return head_tensors(trace_detector(small.model, 64), head_paths(small.model))


@pytest.fixture(scope="module")
def pictures(small: Any) -> torch.Tensor:
    """Images whose values are pixels: their codes lose nothing."""
    pixels: torch.Tensor = (small.images * 255).round() / 255
    return pixels


@pytest.fixture(scope="module")
def noise(small: Any, head: tuple[str, ...], pictures: torch.Tensor) -> HeadNoise:
    return HeadNoise(small.quantized, head, pictures.split(2))


def replan(small: Any, addresses: tuple[str, ...]) -> QuantPlan:
    return plan_detector(small.model, 64, "x86-vnni", float_patterns=addresses)


def test_the_head_is_the_last_convolution_of_every_branch(small: Any, head: tuple[str, ...]) -> None:
    assert head == tuple(f"model.23.{branch}.{i}.2:conv2d:0" for branch in ("cv2", "cv3") for i in range(3))


def test_one_operation_reads_codes_and_makes_codes(
    small: Any, pictures: torch.Tensor, noise: HeadNoise, head: tuple[str, ...]
) -> None:
    """The last class convolution alone: its result is that of the planned kernel on the codes of the float input."""
    plan, last = small.quantized.plan, head[-1]
    model = PartlyQuantized.like(small.quantized, plan, (*head, *plan.by_address[last].inputs))
    with torch.no_grad():
        model.only = frozenset()
        model(pictures)
        exact, source = model.head[last].clone(), model.head[plan.by_address[last].inputs[0]].clone()
        module = small.model.get_submodule(plan.by_address[last].weight)
        codes = model.range_of(plan.groups[plan.by_address[last].inputs[0]])(source)
        weight = model.weight_quantizer(plan.by_address[last])(module.weight)
        expected = model.range_of(plan.groups[last])(torch.nn.functional.conv2d(codes, weight, module.bias))
        model.only = frozenset({last})
        model(pictures)
        assert torch.allclose(model.head[last], expected, atol=1.01 * float(model.range_of(plan.groups[last]).scale))
        assert not torch.equal(model.head[last], exact)
    relative = (expected - exact).double().square().mean() / exact.double().var(correction=0)
    (found,) = noise.of_units([(last,)])
    assert found == pytest.approx(float(relative) / len(head), rel=0.05)  # the other tensors have no noise


def test_early_operations_disturb_every_tensor_and_nothing_disturbs_none(small: Any, noise: HeadNoise) -> None:
    units = units_of(small.quantized.plan)
    noises = list(noise.of_units([(), units[0], *units[-1:]]))
    assert noises[0] == 0 and noises[1] > 0 and noises[2] > 0


def test_a_plan_without_integers_has_no_noise_and_the_rules_plan_has_most(small: Any, noise: HeadNoise) -> None:
    units = units_of(small.quantized.plan)
    no_units = [False] * len(units)
    half = [index % 2 == 0 for index in range(len(units))]
    nothing = noise.of_plan(replan(small, float_addresses(units, no_units)))
    some, everything = noise.of_plan(replan(small, float_addresses(units, half))), noise.of_plan(small.quantized.plan)
    assert nothing < FLOAT_NOISE and FLOAT_NOISE < some < everything


@pytest.mark.parametrize(("noise_", "db"), [(0.1, 10.0), (1e-3, 30.0), (0.0, 999.0), (2.0, -3.0103)])
def test_decibels(noise_: float, db: float) -> None:
    assert to_db(noise_) == pytest.approx(db, abs=1e-4)


def test_the_searched_model_is_as_it_was(small: Any, noise: HeadNoise, pictures: torch.Tensor) -> None:
    before = {name: value.clone() for name, value in small.quantized.state_dict().items()}
    list(noise.of_units(units_of(small.quantized.plan)[:2]))
    assert all(torch.equal(value, before[name]) for name, value in small.quantized.state_dict().items())
