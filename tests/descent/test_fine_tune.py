"""Gradient descent. Oracles: closed formulas of the schedule, torch.autograd, and the training's own repetition."""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import pytest
import torch

from edgegd.descent.fine_tune import fine_tune
from edgegd.descent.schedule import learning_rate_factor
from edgegd.errors import NaNLossError
from edgegd.recipe.schema import TrainSection

SETTINGS = TrainSection(epochs=3, lr0=1e-3, warmup_epochs=0.5, ema_decay=0.9)


def test_the_learning_rate_rises_linearly_and_falls_as_a_cosine():
    settings = TrainSection(lr0=0.1, lrf=0.01)
    rates = [learning_rate(step, 104, 4, settings) for step in range(105)]
    assert rates[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    assert rates[4] == pytest.approx(0.1)
    assert rates[54] == pytest.approx(0.1 * (0.01 + 0.99 / 2))  # half-way
    assert rates[104] == pytest.approx(0.001)
    assert all(earlier > later for earlier, later in pairwise(rates[4:]))
    assert learning_rate(0, 1, 0, settings) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("name", "kind"), [("AdamW", torch.optim.AdamW), ("Adam", torch.optim.Adam), ("SGD", torch.optim.SGD)]
)
def test_biases_and_frozen_parameters_do_not_decay(calibrated, name, kind):
    model = calibrated().model
    optimizer = make_optimizer(model, TrainSection(optimizer=name, weight_decay=0.3, momentum=0.8))
    weights, biases = optimizer.param_groups
    assert type(optimizer) is kind and (weights["weight_decay"], biases["weight_decay"]) == (0.3, 0.0)
    assert {p.ndim for p in weights["params"]} == {4} and {p.ndim for p in biases["params"]} == {1}
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    frozen = {n for n, p in model.named_parameters() if id(p) not in held}
    assert frozen == {"model.22.dfl.conv.weight"}
    assert weights.get("momentum", weights.get("betas", (0,))[0]) == 0.8


@pytest.mark.parametrize(
    ("architecture", "end2end", "untouched"),
    [("yolo26n", True, ()), ("yolo26n", False, ("one2one",)), ("yolo11n", None, ()), ("yolov8n", None, ())],
    ids=["yolo26n-end2end", "yolo26n-raw", "yolo11n", "yolov8n"],
)
def test_the_gradient_reaches_every_weight_and_bias_of_the_deployed_model(
    calibrated, batches, architecture, end2end, untouched
):
    quantized = calibrated(architecture, end2end).train()
    batch = {**batches[0], "img": batches[0]["img"].float() / 255}
    losses, _ = quantized.model.loss(batch, quantized(batch["img"]))
    losses.sum().backward()
    without = {
        name for name, parameter in quantized.model.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.abs().sum() > 0)
    }  # fmt: skip
    expected = {name for name, _ in quantized.model.named_parameters() if any(part in name for part in untouched)}
    # A box branch whose anchors were assigned no object gets none: on these images some level may be empty.
    box_branches = {name for name in without if ".cv2." in name or "one2one_cv2" in name}
    assert without - box_branches == expected - box_branches


def test_the_end_to_end_loss_is_weighted_for_the_deployed_head(calibrated):
    criterion = calibrated("yolo26n", True).model.criterion
    assert criterion.o2m == pytest.approx(0.1) and criterion.o2o == pytest.approx(0.9)


def test_a_raw_dual_head_trains_and_records_its_own_head(calibrated, batches):
    quantized = calibrated("yolo26n", False).train()
    batch = {**batches[0], "img": batches[0]["img"].float() / 255}
    predictions = quantized(batch["img"])
    from ultralytics.utils.loss import v8DetectionLoss

    expected, items = v8DetectionLoss(quantized.model, tal_topk=10).loss(predictions["one2many"], batch)
    losses, parts = quantized.model.loss(batch, predictions)
    assert torch.equal(losses, expected) and parts.keys() == items.keys()
    assert all(float(parts[key]) == float(items[key]) for key in items)


def _train(quantized, batches, settings=SETTINGS, scores=(0.1, 0.2, 0.3, 0.15)):
    losses, stored, scores = [], [], iter(scores)

    def save(epoch):
        stored.append((epoch, copy.deepcopy(quantized.state_dict())))

    def progress(step, steps, text):
        losses.append(float(text.split("loss ")[1].split()[0]))

    descent = fine_tune(quantized, batches, settings, lambda: next(scores), save, progress)
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
    assert descent.epochs[-1].lr == pytest.approx(learning_rate(11, 12, 1, settings))
    assert descent.epochs[0].parts.keys() == {"box_loss", "cls_loss", "dfl_loss"}
    for name, value in quantized.state_dict().items():
        if name.startswith("ranges"):
            assert torch.equal(value, before[name])  # ranges are fixed; weights learn
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
    loss, calls = quantized.model.loss, []

    def poisoned(batch, predictions):
        calls.append(1)
        losses, parts = loss(batch, predictions)
        return losses * (math.nan if len(calls) == 4 else 1.0), parts

    quantized.model.loss = poisoned
    stored = []
    weights = []

    def save(epoch):
        stored.append((epoch, copy.deepcopy(quantized.state_dict())))

    def progress(step, steps, text):
        weights.append(copy.deepcopy(dict(quantized.model.named_parameters())))

    with pytest.raises(NaNLossError) as caught:
        fine_tune(quantized, batches, SETTINGS, iter((0.1, 0.2)).__next__, save, progress)
    rate = learning_rate(3, 6, 1, SETTINGS)
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
        fine_tune(quantized, batches, settings, lambda: 0.0, lambda epoch: None)
    assert all(torch.isfinite(p).all() for p in quantized.model.parameters())
