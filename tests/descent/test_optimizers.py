"""Parameter groups and optimizers. Oracles: the formulas of a first step, and Ultralytics' muon_update."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from ultralytics.optim.muon import MuSGD, muon_update

from edgegd.descent.optimizers import make_optimizer, set_learning_rates
from edgegd.detectors.student import FloatStudent
from edgegd.recipe.training import TrainSection

KINDS = {"AdamW": torch.optim.AdamW, "Adam": torch.optim.Adam, "SGD": torch.optim.SGD, "MuSGD": MuSGD}
SETTINGS = {"lr0": 0.1, "bias_lr": 0.2, "range_lr": 0.01, "weight_decay": 0.3, "momentum": 0.8}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("learned", [False, True], ids=["tied", "learned"])
def test_everything_that_learns_is_in_one_group_with_its_own_rate(calibrated, name, learned):
    quantized = calibrated(learned=learned)
    optimizer = make_optimizer(quantized, TrainSection(optimizer=name, **SETTINGS))
    assert type(optimizer) is KINDS[name]
    groups = {group["name"]: group for group in optimizer.param_groups}
    assert {name: group["lr"] for name, group in groups.items()} == {
        "weights": 0.1,
        "biases": 0.2,
        "scales": 0.01,
        "zero_points": pytest.approx(2.55),
    }
    assert {name: group["weight_decay"] for name, group in groups.items()} == {
        "weights": 0.3,
        "biases": 0.0,
        "scales": 0.0,
        "zero_points": 0.0,
    }
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len(set(held))
    names = {id(p): n for n, p in quantized.named_parameters()}
    assert set(held) == {id(p) for p in quantized.parameters() if p.requires_grad}
    of_group = {name: {names[id(p)] for p in group["params"]} for name, group in groups.items()}
    assert all(name.startswith("model.") for name in of_group["weights"] | of_group["biases"])
    assert all(name.endswith(".shift") for name in of_group["zero_points"])
    assert any(name.startswith("weights.") for name in of_group["scales"]) == learned
    set_learning_rates(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.1, 0.005, 1.275])


def first_step(settings: TrainSection) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weight and bias of a convolution before and after one step with gradients of 1, 2, 3, ..."""
    torch.manual_seed(0)
    convolution = nn.Conv2d(2, 3, 2)
    before = convolution.weight.detach().clone(), convolution.bias.detach().clone()
    optimizer = make_optimizer(FloatStudent(convolution), settings)
    for parameter in convolution.parameters():
        parameter.grad = torch.arange(1.0, parameter.numel() + 1).view_as(parameter)
    optimizer.step()
    return *before, convolution.weight.detach(), convolution.bias.detach()


def test_without_momentum_sgd_is_plain():
    weight, bias, new_weight, new_bias = first_step(TrainSection(optimizer="SGD", lr0=0.1, momentum=0.0))
    torch.testing.assert_close(new_weight, weight - 0.1 * torch.arange(1.0, 25).view_as(weight))
    torch.testing.assert_close(new_bias, bias - 0.1 * torch.arange(1.0, 4))


def test_sgd_has_nesterov_momentum():
    _, bias, _, new_bias = first_step(TrainSection(optimizer="SGD", lr0=0.1, momentum=0.5))
    torch.testing.assert_close(new_bias, bias - 0.1 * 1.5 * torch.arange(1.0, 4))


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_adams_first_step_is_the_learning_rate(name):
    weight, bias, new_weight, new_bias = first_step(TrainSection(optimizer=name, lr0=0.1, bias_lr=0.02))
    torch.testing.assert_close(new_weight, weight - 0.1)
    torch.testing.assert_close(new_bias, bias - 0.02)


def test_musgd_orthogonalizes_weights_only():
    weight, bias, new_weight, new_bias = first_step(TrainSection(optimizer="MuSGD", lr0=0.1, momentum=0.5))
    gradient = torch.arange(1.0, 25).view_as(weight)
    orthogonal = muon_update(gradient, torch.zeros_like(gradient), beta=0.5)
    torch.testing.assert_close(new_weight, weight - 0.1 * (0.2 * orthogonal + 1.5 * gradient))
    torch.testing.assert_close(new_bias, bias - 0.1 * 1.5 * torch.arange(1.0, 4))
