"""Oscillating weights. Oracle: the recursion of Nagel et al. 2022 in numpy, for one weight at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgegd.descent.oscillation import Oscillation


def first_layer(quantized):
    """Path, weight and scales of the first integer convolution."""
    op = next(op for op in quantized.plan.ops if op.weight and op.decision == "integer")
    return op.weight, quantized.model.get_submodule(op.weight).weight, quantized.weight_quantizer(op)


def set_codes(weight, quantizer, codes):
    """Gives the first channel's weights these codes, but for its last, which holds the scale."""
    with torch.no_grad():
        scale = quantizer.scale[0].clone()
        row = weight[0].flatten()
        row[: len(codes)] = torch.tensor(codes) * scale
        row[-1] = 127 * scale
        weight[0] = row.view_as(weight[0])


def test_frequencies_follow_the_recursion(calibrated):
    quantized = calibrated()
    path, weight, quantizer = first_layer(quantized)
    set_codes(weight, quantizer, [0.0] * 6)
    quantized.follow_weights()
    oscillation = Oscillation(quantized, "track", 0.0)
    random = np.random.default_rng(0)
    steps = random.integers(-2, 3, (60, 6)) * (random.random((60, 6)) < 0.6)
    steps[:, 0] = np.resize([3, 3, -3, -3], 60)  # two changes one way, two the other: swings at every second change
    codes, direction, frequency = np.zeros(6), np.zeros(6), np.zeros(6)
    for change in steps:
        new = codes + change
        swings = (np.sign(change) * direction) < 0
        frequency = 0.01 * swings + 0.99 * frequency
        direction = np.where(change != 0, np.sign(change), direction)
        codes = new
        set_codes(weight, quantizer, new.tolist())
        quantized.follow_weights()
        oscillation.before_step(0.0)
        oscillation.after_step()
    np.testing.assert_allclose(oscillation.state_dict()["frequency"][:6], frequency, rtol=1e-5)
    counts = oscillation.counts()[path]
    assert counts == {"weights": weight.numel(), "oscillating": int((frequency > 0.005).sum()), "frozen": 0}
    assert all(entry["oscillating"] == 0 for name, entry in oscillation.counts().items() if name != path)


@pytest.mark.parametrize("learned", [False, True], ids=["tied", "learned"])
def test_an_oscillating_weight_is_frozen_at_its_mean_code_whatever_the_optimizer_does(calibrated, learned):
    quantized = calibrated(learned=learned)
    path, weight, quantizer = first_layer(quantized)
    oscillation = Oscillation(quantized, "freeze", 0.0)

    def step(codes):
        set_codes(weight, quantizer, codes)
        quantized.follow_weights()
        oscillation.before_step(1.0)  # at the end: the lowest threshold
        with torch.no_grad():
            for other in quantized.model.parameters():
                other.mul_(1.003)  # scales grow, too
        oscillation.after_step()
        quantized.follow_weights()
        return (weight[0] / quantizer.scale[0]).round().flatten()[:2].tolist()

    for swing in range(600):
        now = step([5.0 if swing % 4 else 6.0, 9.0])
        if oscillation.counts()[path]["frozen"]:
            break
    assert oscillation.counts()[path]["frozen"] == 1 and swing == 4  # the second swing back
    held = now[0]
    assert held in (5.0, 6.0)
    for other in (20.0, 33.0, 40.0):
        assert step([other, other]) == [held, other]


def test_damping_pulls_weights_to_their_codes_ever_harder(calibrated):
    quantized = calibrated()
    _, weight, quantizer = first_layer(quantized)
    oscillation = Oscillation(quantized, "damp", 0.5)
    scale = quantizer.scale.view(-1, 1, 1, 1)
    distance = weight.detach() - (weight.detach() / scale).round() * scale
    assert distance.abs().max() > 0
    for progress, coefficient in ((0.0, 0.0), (0.5, 0.25), (1.0, 0.5)):
        for parameter in quantized.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        oscillation.before_step(progress)
        # The gradient of coefficient * distance^2.
        torch.testing.assert_close(weight.grad, 2 * coefficient * distance)


def test_a_weight_beyond_its_range_is_not_damped(calibrated):
    quantized = calibrated(learned=True)
    _, weight, quantizer = first_layer(quantized)
    oscillation = Oscillation(quantized, "damp", 0.5)
    with torch.no_grad():
        weight[0, 0, 0, 0] = 200 * quantizer.scale[0]
    weight.grad = torch.zeros_like(weight)
    oscillation.before_step(1.0)
    assert weight.grad[0, 0, 0, 0] == 0 and weight.grad.abs().sum() > 0
