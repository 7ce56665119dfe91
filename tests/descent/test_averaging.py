"""The moving average. Oracle: the recursion in numpy, float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgegd.descent.averaging import MovingAverage


def test_the_average_follows_the_recursion_and_the_models_own_values_come_back():
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    average = MovingAverage(model, decay=0.6)
    expected = model.weight.detach().double().numpy().copy()
    for step in range(1, 20):
        with torch.no_grad():
            model.weight.add_(torch.randn_like(model.weight))
        average.update(model)
        decay = min(0.6, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach().double().numpy()
    own = model.weight.detach().clone()
    with average.applied(model):
        np.testing.assert_allclose(model.weight.detach().numpy(), expected, rtol=1e-5)
    assert torch.equal(model.weight, own)
    with pytest.raises(RuntimeError, match="inside"), average.applied(model):
        raise RuntimeError("inside")
    assert torch.equal(model.weight, own)


def test_the_first_step_weighs_most_of_the_new_values():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = MovingAverage(model, decay=0.999)
    nn.init.ones_(model.weight)
    average.update(model)
    with average.applied(model):
        assert model.weight.item() == pytest.approx(9 / 11)
