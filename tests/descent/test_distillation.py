"""Distillation. Oracles: the formulas in numpy, and the teacher itself, from which nothing is to be learned."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from descent_listener import scores_of
from ultralytics.nn.tasks import RTDETRDetectionModel

from edgegd.descent.fine_tune import fine_tune
from edgegd.detectors.activation_swap import silu_paths
from edgegd.detectors.deployment import deploy
from edgegd.detectors.distillation import Distiller, feature_difference
from edgegd.detectors.families.head_difference import sigmoid_difference
from edgegd.detectors.loss_terms import joined
from edgegd.detectors.losses import predict
from edgegd.detectors.student import FloatStudent
from edgegd.errors import UnsupportedModelError
from edgegd.recipe.training import Distillation, TrainSection

BOTH = Distillation(head=0.5, neck=2.0)


def random_branch(seed: int, bins: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"scores": (2, 3, 7), "boxes": (2, 4 * bins, 7)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.mark.parametrize("bins", [1, 8], ids=["distances", "distributions"])
def test_the_heads_difference_is_its_formula(bins: int) -> None:
    own, target = random_branch(0, bins), random_branch(1, bins)
    s, t = (branch["scores"].double().numpy() for branch in (own, target))
    p, q = 1 / (1 + np.exp(-s)), 1 / (1 + np.exp(-t))
    classes = (q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))).sum()
    a, b = (branch["boxes"].double().numpy().reshape(2, 4, bins, 7) for branch in (own, target))
    if bins == 1:
        d = np.abs(a - b)
        sides = np.where(d < 1, 0.5 * d**2, d - 0.5).sum(2)
    else:
        x, y = (v - np.log(np.exp(v).sum(2, keepdims=True)) for v in (a, b))
        sides = (np.exp(y) * (y - x)).sum(2)
    weight = q.max(1)
    expected = (classes + (sides.mean(1) * weight).sum()) / weight.sum()
    assert sigmoid_difference(own, target)[0].item() == pytest.approx(expected, rel=1e-5)
    assert sigmoid_difference(target, target)[0].item() == pytest.approx(0.0, abs=1e-5)


def test_the_features_difference_is_relative() -> None:
    own, target = torch.full((1, 2, 3, 3), 3.0), torch.full((1, 2, 3, 3), 2.0)
    assert feature_difference(own, target)[0].item() == pytest.approx(0.25)
    assert feature_difference(own * 1e3, target * 1e3)[0].item() == pytest.approx(0.25)


@pytest.mark.parametrize("architecture", ["small", "small-end2end"])
def test_the_teacher_has_nothing_to_learn_from_itself_and_a_student_has(calibrated, batches, architecture) -> None:
    end2end = True if architecture == "small-end2end" else None
    quantized, images = calibrated(architecture, end2end).train(), batches[0]["img"].float() / 255
    teacher = copy.deepcopy(quantized.model)
    for student in (FloatStudent(copy.deepcopy(teacher)).train(), quantized):
        with Distiller(teacher, student, BOTH) as distiller:
            predictions = predict(student, {"img": images})
            loss, parts = joined(distiller.terms(predictions, distiller.expect(images)), None)
        assert parts.keys() == {"distill_head", "distill_neck"}
        assert loss.item() == pytest.approx(sum(part.item() for part in parts.values()))
        loss.backward()
        if student is not quantized:
            assert loss.item() == pytest.approx(0.0, abs=1e-5)
    assert min(map(float, parts.values())) > 1e-6  # the rounding to codes
    assert quantized.model.model[0].conv.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in teacher.parameters())
    head = quantized.model.model[-1]
    deployed = head.one2one_cv3 if end2end else head.cv3
    assert all(branch[-1].weight.grad.abs().sum() > 0 for branch in deployed)


def test_a_relu_student_with_live_batchnorm_learns_the_silu_teachers_features(calibrated, swapped, batches) -> None:
    student, teacher = swapped(), copy.deepcopy(calibrated("small-end2end", True).model)
    first = student.model.model[0].bn.running_mean.clone()
    settings = TrainSection(epochs=6, lr0=2e-3, warmup_epochs=0, distill=Distillation(head=1.0, neck=1.0, labels=False))
    descent = fine_tune(student, batches, settings, scores_of(), teacher=teacher)
    before, after = descent.epochs[0].parts, descent.epochs[-1].parts
    assert after["distill_neck"] < 0.8 * before["distill_neck"] and after["distill_head"] < before["distill_head"]
    assert not torch.equal(student.model.model[0].bn.running_mean, first)
    assert silu_paths(teacher) and not silu_paths(student.model)


def test_without_labels_no_label_is_used(calibrated, batches) -> None:
    class Unlabelled:
        def __len__(self) -> int:
            return 2

        def epoch(self, number: int, first: int = 0) -> Any:
            return ({"img": batch["img"]} for batch in batches[first:])

    quantized = calibrated()
    teacher = copy.deepcopy(quantized.model)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.mul_(1.1)
    quantized.model.criterion = None  # calling it would fail
    settings = TrainSection(epochs=4, lr0=1e-3, warmup_epochs=0, distill=Distillation(head=1.0, neck=1.0, labels=False))
    descent = fine_tune(quantized, Unlabelled(), settings, scores_of(), teacher=teacher)
    assert descent.epochs[0].parts.keys() == {"distill_head", "distill_neck"}
    assert descent.epochs[-1].loss < descent.epochs[0].loss


def test_rt_detr_distils_its_neck_only(batches) -> None:
    torch.manual_seed(0)
    teacher = deploy(RTDETRDetectionModel("rtdetr-l.yaml", nc=3, verbose=False).eval())
    student, images = FloatStudent(copy.deepcopy(teacher)).train(), batches[0]["img"].float() / 255
    with pytest.raises(UnsupportedModelError, match=r"train\.distill\.head is not possible for RT-DETR"):
        Distiller(teacher, student, BOTH)
    with torch.no_grad():
        for parameter in student.model.model[-2].parameters():
            parameter.mul_(1.5)
    with Distiller(teacher, student, Distillation(neck=1.0)) as distiller:
        predictions = predict(student, {"img": images}, labels=False)
        loss, parts = joined(distiller.terms(predictions, distiller.expect(images)), None)
    assert parts.keys() == {"distill_neck"} and loss.item() > 0.01
    loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in student.model.model[-2].parameters())
