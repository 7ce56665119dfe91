"""torchvision's SSDLite as a family. Oracle: torchvision's own model, its decoding and its loss."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

pytest.importorskip("torchvision")

from torchvision.models.detection import ssdlite320_mobilenet_v3_large
from torchvision.models.detection.image_list import ImageList

from edgegd.detectors.batches import hyperparameters
from edgegd.detectors.curvature import Curvature
from edgegd.detectors.deployment import class_names, deploy, head_paths, model_stride, output_kind, plan_detector
from edgegd.detectors.distillation import Distiller
from edgegd.detectors.families.head_difference import softmax_difference
from edgegd.detectors.families.registry import FAMILIES, family_of
from edgegd.detectors.families.ssd_detector import taken_apart
from edgegd.detectors.loss_terms import amounts_of, joined
from edgegd.detectors.losses import (
    image_losses,
    in_parts,
    label_loss,
    label_terms,
    labelled_part,
    predict,
    prepare_loss,
)
from edgegd.detectors.student import FloatStudent
from edgegd.errors import UnsupportedModelError
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.sensitivity import collect_sensitivities
from edgegd.recipe.training import Distillation, TrainSection

NAMES = ("pedestrian", "car", "traffic sign")


@pytest.fixture(scope="module")
def ssd() -> Any:
    """A torchvision model whose BatchNorm is no identity and whose predictions spread; not to be changed."""
    torch.manual_seed(0)
    model: Any = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=len(NAMES) + 1).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.01, 0.1)  # type: ignore[union-attr]
            nn.init.normal_(module.bias, 0, 0.3)
    return model


def _images(height: int, width: int, count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [(96, 96), (96, 64), (320, 320)], ids=str)
def test_the_detector_returns_torchvisions_boxes_and_probabilities(ssd: Any, size: tuple[int, int]) -> None:
    images = _images(*size)
    with torch.no_grad():
        features = list(ssd.backbone((images - 0.5) / 0.5).values())
        outputs = ssd.head(features)
        anchors = ssd.anchor_generator(ImageList(images, [size] * 2), features)
        found = taken_apart(ssd, NAMES).eval()(images)
    assert found.shape == (2, 4 + len(NAMES), len(anchors[0]))
    for index in range(2):
        corners = ssd.box_coder.decode_single(outputs["bbox_regression"][index], anchors[index])
        centers, half = found[index, :2], found[index, 2:4] / 2
        own = torch.cat([centers - half, centers + half]).T
        torch.testing.assert_close(own, corners, rtol=1e-5, atol=1e-3)
        scores = F.softmax(outputs["cls_logits"][index], -1)[:, 1:].T
        torch.testing.assert_close(found[index, 4:], scores, rtol=1e-4, atol=1e-6)
    assert float(found[:, 4:].std()) > 0.01  # scores that are all alike would hide a wrong order


def test_the_deployed_form_is_the_same_but_for_the_images_border(ssd: Any) -> None:
    detector = taken_apart(ssd, NAMES).eval()
    deployed: Any = deploy(copy.deepcopy(detector))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in deployed.modules())
    images = _images(96, 96)
    first = [model.backbone.features[0][0][0] for model in (detector, deployed)]
    batch_norm = detector.backbone.features[0][0][1]
    with torch.no_grad():
        expected, found = batch_norm(first[0]((images - 0.5) / 0.5)), first[1](images)
        torch.testing.assert_close(found[:, :, 1:, 1:], expected[:, :, 1:, 1:], rtol=1e-4, atol=1e-4)
        assert not torch.allclose(found[:, :, 0], expected[:, :, 0], atol=1e-2)  # it pads with black, not with grey
    unfolded: Any = deploy(copy.deepcopy(detector), fold=False)
    with torch.no_grad():
        torch.testing.assert_close(unfolded(images), detector(images))


def _batch(size: int) -> dict[str, Any]:
    """Three boxes in the first image and none in the second; one of them has no height."""
    return {
        "img": _images(size, size),
        "cls": torch.tensor([[0.0], [2.0], [1.0]]),
        "bboxes": torch.tensor([[0.3, 0.4, 0.2, 0.3], [0.6, 0.6, 0.5, 0.4], [0.5, 0.5, 0.1, 0.0]]),
        "batch_idx": torch.tensor([0.0, 0.0, 0.0]),
    }


def test_the_loss_is_torchvisions(ssd: Any) -> None:
    batch = _batch(320)
    detector = taken_apart(ssd, NAMES)
    prepare_loss(detector, hyperparameters(TrainSection(), 320))
    student = FloatStudent(detector).train()
    original = copy.deepcopy(ssd).train()
    for model in (student, original):
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    targets = [
        {
            "boxes": torch.tensor([[0.2, 0.25, 0.4, 0.55], [0.35, 0.4, 0.85, 0.8]]) * 320,
            "labels": torch.tensor([1, 3]),
        },
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    expected = original(list(batch["img"]), targets)
    loss, parts = label_loss(student, batch, predict(student, batch))
    assert parts.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(parts[name], value.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss, sum(expected.values()), rtol=1e-4, atol=1e-5)
    of_images = image_losses(student).of(batch, predict(student, batch))
    for index in range(2):
        alone = original(list(batch["img"][index : index + 1]), targets[index : index + 1])
        torch.testing.assert_close(of_images[index], sum(alone.values()).detach(), rtol=1e-4, atol=1e-5)
    of_parts = [label_terms(student, part, predict(student, part)) for part in in_parts(batch, 2)]
    totals = torch.stack([amounts_of(terms) for terms in of_parts]).sum(0)
    together = [joined(terms, totals) for terms in of_parts]  # the second image has no box
    torch.testing.assert_close(sum(part for part, _ in together), loss, rtol=1e-4, atol=1e-5)
    for name, value in parts.items():
        torch.testing.assert_close(sum(named[name] for _, named in together), value, rtol=1e-4, atol=1e-5)
    loss.backward()
    without = [name for name, parameter in detector.named_parameters() if parameter.grad is None]
    assert without == []


def test_the_family_answers_and_refuses(ssd: Any) -> None:
    detector = taken_apart(ssd, NAMES)
    assert [family.name for family in FAMILIES if family.recognises(detector)] == ["SSD"]
    deployed = deploy(detector)
    paths = head_paths(deployed)
    assert (output_kind(deployed), class_names(deployed), model_stride(deployed)) == ("raw", NAMES, 32)
    assert paths.path == "head" and paths.box_convolutions == {f"head.boxes.{level}.1" for level in range(6)}
    assert isinstance(deployed.get_submodule("head.boxes.5.1"), nn.Conv2d)
    with pytest.raises(UnsupportedModelError, match="SSD has no end-to-end head"):
        deploy(taken_apart(ssd, NAMES), end2end=True)
    assert [level.shape[1] for level in family_of(deployed).head_outputs(deployed.eval(), _images(96, 96))] == [
        672,
        480,
        512,
        256,
        256,
        128,
    ]


def test_the_plan_says_what_stays_float_and_why(ssd: Any) -> None:
    plan = plan_detector(deploy(taken_apart(ssd, NAMES)), 96, "x86-vnni")
    convolutions = [op for op in plan.ops if op.operation == "conv2d"]
    kept = [op for op in convolutions if op.decision == "float"]
    assert len(convolutions) == 98 and {op.rule for op in kept} == {"box-convolution"} and len(kept) == 6
    without = {op.operation: op.reason for op in plan.ops if op.rule == "no-integer-kernel"}
    assert without.keys() == {"hardswish", "hardsigmoid", "hardtanh"}
    assert all(name in reason for name, reason in without.items())
    decoding = {op.operation for op in plan.ops if op.rule == "decoding"}
    assert {"softmax", "exp", "cat"} <= decoding and all(not op.address.startswith(":") for op in plan.ops)


def test_a_teacher_has_nothing_to_teach_itself_and_something_to_teach_a_student(ssd: Any) -> None:
    teacher = deploy(taken_apart(ssd, NAMES))
    images, parts = _images(96, 96), {}
    for change in (0.0, 0.5):
        student = FloatStudent(copy.deepcopy(teacher)).train()
        with torch.no_grad():
            student.model.head.classes[0][1].bias[1::4].add_(change)  # the first class of every box
        with Distiller(copy.deepcopy(teacher), student, Distillation(head=1.0, neck=1.0)) as distiller:
            loss, parts[change] = joined(
                distiller.terms(predict(student, {"img": images}), distiller.expect(images)), None
            )
        loss.backward()
        assert all(branch[1].weight.grad is not None for branch in student.model.head.classes)
    assert parts[0.0].keys() == {"distill_head", "distill_neck"}
    assert sum(parts[0.0].values()).item() == pytest.approx(0.0, abs=1e-5)
    assert parts[0.5]["distill_head"].item() > 1e-3 and parts[0.5]["distill_neck"].item() < 1e-6


def test_the_heads_difference_is_its_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    own, target = (
        {"logits": torch.randn(2, 4, 7, generator=generator), "offsets": torch.randn(2, 4, 7, generator=generator)}
        for _ in range(2)
    )
    p, q = (
        side["logits"].double().exp() / side["logits"].double().exp().sum(1, keepdim=True) for side in (own, target)
    )
    distance = (own["offsets"] - target["offsets"]).double().abs()
    sides = torch.where(distance < 1, 0.5 * distance**2, distance - 0.5).mean(1)
    weight = q[:, 1:].sum(1)
    expected = ((q * (q / p).log()).sum() + (sides * weight).sum()) / weight.sum()
    assert softmax_difference(own, target)[0].item() == pytest.approx(expected.item(), rel=1e-5)
    assert softmax_difference(target, target)[0].item() == pytest.approx(0.0, abs=1e-6)


def test_a_batch_of_labelled_and_unlabelled_images_has_the_loss_of_the_labelled_ones(ssd: Any) -> None:
    student = FloatStudent(deploy(taken_apart(ssd, NAMES))).train()
    batch = _batch(96)
    mixed = {**batch, "labelled": torch.tensor([True, False])}
    part = labelled_part(mixed, predict(student, mixed))
    assert part is not None
    alone = {**batch, "img": batch["img"][:1]}
    expected, _ = label_loss(student, alone, predict(student, alone))
    torch.testing.assert_close(label_loss(student, *part)[0], expected, rtol=1e-4, atol=1e-5)


def test_errors_are_weighed_by_the_heads_difference(ssd: Any) -> None:
    model = deploy(taken_apart(ssd, NAMES)).eval()
    quantized = QuantizedModel(model, plan_detector(model, 96, "x86-vnni")).eval()
    found = collect_sensitivities(quantized, [_images(96, 96, 1)], Curvature(model, 0))
    assert len(found) > 50 and sum(histogram.total > 0 for histogram in found.values()) > 0.9 * len(found)
    assert not model.head.training
