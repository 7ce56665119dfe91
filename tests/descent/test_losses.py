"""The loss of every family. Oracles: Ultralytics' own loss on the same predictions, and torch.autograd."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ultralytics.nn.tasks import RTDETRDetectionModel
from ultralytics.utils.loss import v8DetectionLoss

from edgegd.detectors.batches import hyperparameters
from edgegd.detectors.deployment import deploy
from edgegd.detectors.families.image_losses import batch_of
from edgegd.detectors.loss_terms import amounts_of, joined
from edgegd.detectors.losses import (
    branch_weights,
    image_losses,
    in_parts,
    label_loss,
    label_terms,
    labelled_part,
    predict,
    prepare_loss,
)
from edgegd.detectors.student import FloatStudent
from edgegd.recipe.training import TrainSection


def float_images(batch: dict[str, Any]) -> dict[str, Any]:
    return {**batch, "img": batch["img"].float() / 255}


@pytest.mark.parametrize(
    ("architecture", "end2end", "untouched"),
    [
        ("yolo26n", True, ()),
        ("yolo26n", False, ("one2one",)),
        ("yolov10n", True, ()),
        ("yolo11n", None, ()),
        ("yolov8n", None, ()),
    ],
    ids=["yolo26n-end2end", "yolo26n-raw", "yolov10n-end2end", "yolo11n", "yolov8n"],
)
def test_the_gradient_reaches_every_weight_bias_and_range_of_the_deployed_model(
    calibrated, batches, architecture, end2end, untouched
):
    quantized = calibrated(architecture, end2end).train()
    batch = float_images(batches[0])
    label_loss(quantized, batch, predict(quantized, batch))[0].backward()
    learning = {name: p for name, p in quantized.named_parameters() if p.requires_grad}
    without = {name for name, p in learning.items() if p.grad is None or not p.grad.abs().sum() > 0}
    expected = {name for name, _ in quantized.named_parameters() if any(part in name for part in untouched)}
    # A box branch whose anchors were assigned no object gets none: on these images some level may be empty. The zero
    # point of a range that saturates nothing in a batch has no gradient.
    unlucky = {
        name
        for name in without
        if ".cv2." in name or "one2one_cv2" in name or "/cv2" in name or name.endswith(".shift")
    }
    assert without - unlucky == expected - unlucky
    assert any(name.endswith(".shift") for name in learning.keys() - without)


@pytest.mark.parametrize("architecture", ["yolo26n", "yolov10n"])
def test_the_end_to_end_loss_is_weighted_for_the_deployed_head(calibrated, batches, architecture):
    quantized, batch = calibrated(architecture, True).train(), float_images(batches[0])
    model, predictions = quantized.model, predict(quantized, batch)
    model.criterion.o2m, model.criterion.o2o = 0.1, 0.9
    expected, items = model.loss(batch, predictions)
    loss, parts = label_loss(quantized, batch, predictions)
    assert float(loss) == pytest.approx(float(expected.sum()) / 4) and {**parts} == {**items}
    assert branch_weights(model) == pytest.approx({"one2many": 0.1, "one2one": 0.9})
    assert branch_weights(calibrated("yolov8n").model) == {}


def test_a_raw_dual_head_trains_and_records_its_own_head(calibrated, batches):
    quantized = calibrated("yolo26n", False).train()
    batch = float_images(batches[0])
    predictions = predict(quantized, batch)
    expected, items = v8DetectionLoss(quantized.model, tal_topk=10).loss(predictions["one2many"], batch)
    loss, parts = label_loss(quantized, batch, predictions)
    assert torch.equal(loss, expected.sum() / 4) and parts.keys() == items.keys()
    assert all(float(parts[key]) == float(items[key]) for key in items)


def test_rt_detr_trains_with_denoising_and_its_own_mean(batches):
    torch.manual_seed(0)
    model = deploy(RTDETRDetectionModel("rtdetr-l.yaml", nc=2, verbose=False).eval())
    prepare_loss(model, hyperparameters(TrainSection(), 64))
    student, batch = FloatStudent(model).train(), float_images(batches[0])
    torch.manual_seed(1)
    loss, parts = label_loss(student, batch, predict(student, batch))
    torch.manual_seed(1)
    expected, items = model.loss(batch)
    assert torch.equal(loss, expected) and {**parts} == {**items}
    loss.backward()
    assert model.model[-1].denoising_class_embed.weight.grad.abs().sum() > 0
    assert predict(student, batch)[-1] is not None and predict(student, batch, labels=False)[-1] is None
    # Its noisy labels aside, which every part draws for itself, parts are the whole: one of three boxes, one of one.
    batch = {**batch, "batch_idx": torch.tensor([0.0, 1.0, 0.0, 3.0])}
    found = []
    for parts_of_batch in ([batch], in_parts(batch, 2)):
        of_parts = [label_terms(student, part, predict(student, part, labels=False)) for part in parts_of_batch]
        totals = torch.stack([amounts_of(terms) for terms in of_parts]).sum(0)
        found.append(sum(float(joined(terms, totals)[0].detach()) for terms in of_parts))
    assert found[1] == pytest.approx(found[0], rel=1e-4)
    student.eval()
    model.training = model.model[-1].training = True  # no dropout, BatchNorm as it is: alone an image is what it was
    with torch.no_grad():
        found = image_losses(student).of(batch, predict(student, batch))
        ones = [batch_of(batch, torch.arange(4) == index) for index in range(4)]
        alone = [float(label_loss(student, one, predict(student, one, labels=False))[0]) for one in ones]
    assert found.tolist() == pytest.approx(alone, rel=1e-3) and len(set(alone)) == 4


@pytest.mark.parametrize("architecture", ["small", "small-end2end"])
def test_unlabelled_images_count_for_nothing_in_the_label_loss(calibrated, batches, architecture):
    quantized = calibrated(architecture).train()
    whole = float_images(batches[0])
    chosen = torch.tensor([False, True, False, True])  # the batch has a box an image, in order
    alone = {
        "img": whole["img"][chosen],
        "cls": whole["cls"][chosen],
        "bboxes": whole["bboxes"][chosen],
        "batch_idx": torch.arange(2.0),
    }
    mixed = {
        **whole,
        **{name: alone[name] for name in ("cls", "bboxes")},
        "batch_idx": torch.tensor([1.0, 3.0]),
        "labelled": chosen,
    }
    expected = label_loss(quantized, alone, predict(quantized, alone))[0]
    part = labelled_part(mixed, predict(quantized, mixed))
    assert part is not None
    torch.testing.assert_close(label_loss(quantized, *part)[0], expected)
    assert labelled_part({**mixed, "labelled": torch.zeros(4, dtype=torch.bool)}, {}) is None
    assert labelled_part(whole, "as it is") == (whole, "as it is")
