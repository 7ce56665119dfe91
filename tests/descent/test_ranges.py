"""Ranges in the descent: learned, averaged, frozen, in float32. Oracle: the checkpoints of the same descent."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from descent_listener import scores_of

from edgegd.descent.averaging import MovingAverage
from edgegd.descent.fine_tune import fine_tune
from edgegd.descent.training import Training
from edgegd.detectors.student import FloatStudent
from edgegd.recipe.training import TrainSection


def range_values(quantized):
    return {name: value.clone() for name, value in quantized.state_dict().items() if name.startswith("ranges.")}


def test_averaged_ranges_are_evaluated_and_the_learning_ones_come_back(calibrated):
    quantized = calibrated()
    average = MovingAverage(quantized, decay=0.5)
    with torch.no_grad():
        for parameter in quantized.range_parameters()["scales"]:
            parameter.add_(math.log(4))
        average.update()
        quantized.update_ranges()
    own, decay = range_values(quantized), 2 / 11
    group = next(tensor.group for tensor in quantized.plan.tensors if tensor.learns == "range")
    quantizer = quantized.range_of(group)
    scale = float(quantizer.scale)
    with average.applied(quantized):
        assert float(quantizer.scale) == pytest.approx(scale / 4**decay)  # logarithms are averaged
        assert quantizer.scale_value == float(quantizer.scale)
    assert {n: v.tolist() for n, v in range_values(quantized).items()} == {n: v.tolist() for n, v in own.items()}
    assert quantizer.scale_value == scale


def test_frozen_ranges_stay_at_their_averages_in_training_evaluation_and_export(calibrated, batches):
    quantized, evaluated, trained = calibrated(), [], []
    settings = TrainSection(epochs=4, lr0=1e-3, range_lr=1e-2, warmup_epochs=0, freeze_ranges_epochs=2)

    def evaluate():
        evaluated.append(range_values(quantized))
        return 0.1 * len(evaluated)

    fine_tune(
        quantized,
        batches,
        settings,
        scores_of(evaluate, step=lambda *_: trained.append(range_values(quantized))),
    )
    moving = [{name for name in one if not torch.equal(one[name], other[name])} for one, other in pairwise(evaluated)]
    assert all("scale" in " ".join(names) and "zero_point" in " ".join(names) for names in moving[:2])
    assert moving[2:] == [set(), set()]
    assert all(torch.equal(value, evaluated[-1][name]) for after in trained[4:] for name, value in after.items())
    assert any(not torch.equal(value, evaluated[-1][name]) for name, value in trained[3].items())


def test_mixed_precision_computes_in_16_bits_and_keeps_weights_and_ranges_in_32(calibrated, batches):
    quantized = calibrated().train()
    seen = set()
    quantized.model.model[0].conv.register_forward_hook(lambda module, arguments, result: seen.add(result.dtype))
    parts = {}
    for amp in (False, True):
        training = Training(calibrated().train() if not amp else quantized, TrainSection(amp=amp, lr0=1e-3), None)
        learning = [group["params"] for group in training.optimizer.param_groups]
        before = [[parameter.detach().clone() for parameter in group] for group in learning]
        parts[amp] = training.take_step(batches[0], 1.0, 0.0)
        for old, new in zip(before, learning, strict=True):
            assert any(not torch.equal(a, b) for a, b in zip(old, new, strict=True))
    assert parts[True] != parts[False] and parts[True]["loss"] == pytest.approx(parts[False]["loss"], rel=0.05)
    assert {value.dtype for value in quantized.state_dict().values()} <= {torch.float32, torch.int32, torch.bool}
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in quantized.parameters())
    assert {v.dtype for s in training.optimizer.state.values() for v in s.values()} == {torch.float32}


def test_a_float_control_goes_through_the_same_loop(calibrated, batches):
    student, stored = FloatStudent(calibrated().model), []
    settings = TrainSection(epochs=3, lr0=1e-3, oscillation="freeze", freeze_ranges_epochs=1)
    descent = fine_tune(student, batches, settings, scores_of((0.1, 0.2, 0.3, 0.2), stored.append))
    assert descent.best_epoch == 2 and stored == [0, 1, 2] and descent.epochs[-1].oscillation == {}
    assert descent.epochs[-1].loss < 0.9 * descent.epochs[0].loss


def test_a_gradient_that_overflows_16_bits_skips_the_step_until_the_scale_is_down_to_one(calibrated, batches):
    training = Training(calibrated().train(), TrainSection(lr0=1e-3), None)
    training.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126)  # float32 overflows with it as float16 would
    before = [parameter.detach().clone() for parameter in training.student.model.parameters()]
    assert math.isfinite(training.take_step(batches[0], 1.0, 0.0)["loss"]) and training.scaler.get_scale() == 2.0**125
    assert all(torch.equal(a, b) for a, b in zip(before, training.student.model.parameters(), strict=True))
    training.scaler.update(2.0**10)
    assert math.isfinite(training.take_step(batches[0], 1.0, 0.0)["loss"]) and training.step == 2
    assert not torch.equal(before[0], next(training.student.model.parameters()))
    next(training.student.model.parameters()).register_hook(lambda gradient: gradient * math.inf)
    training.scaler.update(2.0)
    assert math.isfinite(training.take_step(batches[0], 1.0, 0.0)["loss"])
    assert not math.isfinite(training.take_step(batches[0], 1.0, 0.0)["loss"]) and training.step == 3
