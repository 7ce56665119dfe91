"""The moving average. Oracle: the recursion in numpy, float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgegd.descent.averaging import MovingAverage
from edgegd.detectors.student import FloatStudent


def test_the_average_follows_the_recursion_and_the_models_own_values_come_back():
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    student = FloatStudent(model)
    average = MovingAverage(student, decay=0.6)
    expected = model.weight.detach().double().numpy().copy()
    for step in range(1, 20):
        with torch.no_grad():
            model.weight.add_(torch.randn_like(model.weight))
        average.update()
        decay = min(0.6, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach().double().numpy()
    own = model.weight.detach().clone()
    with average.applied(student):
        np.testing.assert_allclose(model.weight.detach().numpy(), expected, rtol=1e-5)
    assert torch.equal(model.weight, own)
    with pytest.raises(RuntimeError, match="inside"), average.applied(student):
        raise RuntimeError("inside")
    assert torch.equal(model.weight, own)


def test_the_first_step_weighs_most_of_the_new_values():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    student = FloatStudent(model)
    average = MovingAverage(student, decay=0.999)
    nn.init.ones_(model.weight)
    average.update()
    with average.applied(student):
        assert model.weight.item() == pytest.approx(9 / 11)


def test_live_batchnorms_statistics_are_averaged_with_the_weights():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)).train()
    student, norm = FloatStudent(model), model[1]
    average = MovingAverage(student, decay=0.6)
    expected = {"running_mean": np.zeros(3), "running_var": np.ones(3)}
    for step in range(1, 8):
        student(torch.randn(4, 2, 5, 5) + step)
        average.update()
        decay = min(0.6, (1 + step) / (10 + step))
        for name, value in expected.items():
            expected[name] = decay * value + (1 - decay) * getattr(norm, name).double().numpy()
    own = norm.running_mean.clone()
    with average.applied(student):
        for name, value in expected.items():
            np.testing.assert_allclose(getattr(norm, name).numpy(), value, rtol=1e-5)
    assert torch.equal(norm.running_mean, own) and not np.allclose(own.numpy(), expected["running_mean"], rtol=0.01)
    restored = MovingAverage(student, decay=0.6)
    restored.load_state_dict(average.state_dict(), average.steps)
    with restored.applied(student):
        np.testing.assert_allclose(norm.running_mean.numpy(), expected["running_mean"], rtol=1e-5)
