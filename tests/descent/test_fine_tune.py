"""Gradient descent. Oracles: closed formulas of the schedule, torch.autograd, and the training's own repetition."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import math

import pytest
import torch
from descent_listener import scores_of

from edgegd.descent.fine_tune import fine_tune
from edgegd.descent.listener import Storage
from edgegd.descent.record import StepLog
from edgegd.descent.schedule import learning_rate_factor
from edgegd.errors import NaNLossError
from edgegd.recipe.training import TrainSection

SETTINGS = TrainSection(epochs=3, lr0=1e-3, warmup_epochs=0.5, ema_decay=0.9)


def _train(quantized, batches, settings=SETTINGS, scores=(0.1, 0.2, 0.3, 0.15)):
    losses, stored, scores = [], [], iter(scores)

    def save(epoch):
        stored.append((epoch, copy.deepcopy(quantized.state_dict())))

    def progress(step, steps, text):
        losses.append(float(text.split("loss ")[1].split()[0]))

    descent = fine_tune(quantized, batches, settings, scores_of(scores, save, progress))
    return descent, losses, stored


def test_the_loss_falls_the_best_epoch_is_stored_and_the_training_repeats(calibrated, batches):
    settings = TrainSection(epochs=6, lr0=3e-4, warmup_epochs=0.5, ema_decay=0.9)
    scores = (0.1, 0.2, 0.3, 0.15, 0.3, 0.1, 0.1)
    quantized = calibrated()
    before = copy.deepcopy(quantized.state_dict())
    descent, losses, stored = _train(quantized, batches, settings, scores)
    assert descent.epochs[-1].loss < 0.9 * descent.epochs[0].loss
    assert (descent.best_epoch, descent.best_map50_95) == (2, 0.3)
    assert [epoch for epoch, _ in stored] == [0, 1, 2] and len(losses) == 12
    assert [row.map50_95 for row in descent.epochs] == list(scores[1:])
    assert descent.epochs[-1].lr == pytest.approx(3e-4 * learning_rate_factor(11, 12, 1, 0.01))
    assert descent.epochs[0].parts.keys() == {"box_loss", "cls_loss", "dfl_loss"}
    assert (descent.last_map50_95, descent.start_map50_95) == (0.1, 0.1)
    for part in ("scales", "zero_points"):
        assert any(
            not torch.equal(parameter, before[name])
            for name, parameter in quantized.named_parameters()
            if any(parameter is other for other in quantized.range_parameters()[part])
        )
    again, repeated, _ = _train(calibrated(), batches, settings, scores)
    assert repeated == losses and again == descent


def test_what_is_stored_has_scales_of_its_own_weights(calibrated, batches):
    quantized = calibrated()
    _, _, stored = _train(quantized, batches)
    assert [epoch for epoch, _ in stored] == [0, 1, 2]
    for _, state in stored:
        other = calibrated()
        other.load_state_dict(state)
        other.follow_weights()
        assert all(torch.equal(value, state[name]) for name, value in other.state_dict().items())
    first, last = stored[0][1], stored[-1][1]
    changed = [name for name in first if not torch.equal(first[name], last[name])]
    assert any(name.startswith("weights") for name in changed) and any(name.startswith("model") for name in changed)


def test_a_loss_that_is_not_finite_stops_with_step_and_rate_and_keeps_what_is_stored(calibrated, batches):
    quantized = calibrated()
    loss, calls = quantized.model.criterion.loss, []

    def poisoned(predictions, batch):
        calls.append(1)
        losses, parts = loss(predictions, batch)
        return losses * (math.nan if len(calls) == 4 else 1.0), parts

    quantized.model.criterion.loss = poisoned
    stored = []
    weights = []

    def save(epoch):
        stored.append((epoch, copy.deepcopy(quantized.state_dict())))

    def progress(step, steps, text):
        weights.append(copy.deepcopy(dict(quantized.model.named_parameters())))

    with pytest.raises(NaNLossError) as caught:
        fine_tune(quantized, batches, SETTINGS, scores_of((0.1, 0.2), save, progress))
    rate = 1e-3 * learning_rate_factor(3, 6, 1, 0.01)
    assert "step 4 of 6" in str(caught.value) and f"learning rate {rate:.3g}" in str(caught.value)
    assert caught.value.exit_code == 60
    assert [epoch for epoch, _ in stored] == [0, 1]
    assert all(torch.isfinite(value).all() for value in stored[-1][1].values())
    for name, parameter in quantized.model.named_parameters():
        assert torch.equal(parameter, weights[-1][name])  # the broken step changed no weight


@pytest.mark.parametrize("grad_clip", [10.0, 0.0])
def test_a_gradient_that_is_not_finite_stops_too(calibrated, batches, grad_clip):
    quantized = calibrated()
    quantized.model.model[0].conv.weight.register_hook(lambda gradient: gradient * math.inf)
    settings = TrainSection(epochs=1, grad_clip=grad_clip)
    with pytest.raises(NaNLossError, match="step 1 of 2"):
        fine_tune(quantized, batches, settings, scores_of())
    assert all(torch.isfinite(p).all() for p in quantized.model.parameters())


def test_the_step_that_was_not_taken_has_a_line_until_the_training_goes_on(calibrated, batches, tmp_path):
    quantized, seen = calibrated(), []
    loss, calls = quantized.model.criterion.loss, []

    def poisoned(predictions, batch):
        calls.append(1)
        losses, parts = loss(predictions, batch)
        return losses * (math.nan if len(calls) == 4 else 1.0), parts

    quantized.model.criterion.loss = poisoned
    log, settings = tmp_path / "steps.jsonl", TrainSection(epochs=3, probe_every=0)
    listener = dataclasses.replace(scores_of(), on_row=seen.append)
    with pytest.raises(NaNLossError):
        fine_tune(quantized, batches, settings, listener, storage=Storage(log=log))
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert rows == seen and [row["step"] for row in rows] == [1, 2, 3, 4]
    assert [row["loss"] is None for row in rows] == [False, False, False, True] and rows[3].keys() == {
        "step",
        "epoch",
        "loss",
        "lr",
    }
    with contextlib.closing(StepLog(log, 2)):  # as a training does that goes on from a checkpoint after two steps
        assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [1, 2]
