"""The deployed form of every family. Oracle: Ultralytics' own modules, with BatchNorm and every branch in place."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from ultralytics import YOLO
from ultralytics.cfg import get_cfg

from edgegd.detectors.deployment import deploy, output_kind
from edgegd.errors import UnsupportedModelError

FORMS = [
    ("yolov8n", None, "raw"),
    ("yolov9t", None, "raw"),
    ("yolov10n", True, "end2end"),
    ("yolov10s", False, "raw"),
    ("yolo11n", None, "raw"),
    ("yolo12n", None, "raw"),
    ("yolo26n", True, "end2end"),
    ("yolo26n", False, "raw"),
    ("rtdetr-l", None, "queries"),
    ("rtdetr-resnet50", None, "queries"),
]
ALL = pytest.mark.parametrize(("architecture", "end2end", "kind"), FORMS, ids=[f"{a}-{k}" for a, _, k in FORMS])


def _predictions(model, image):
    """What the head computes of the image before it chooses the best: boxes and class scores of every candidate.

    Of RT-DETR what comes before its choice of queries: features and scores of every place; after it there is nothing
    to fold.
    """
    head = model.model[-1]
    head.export, places = False, []
    watched = [head.enc_output, head.enc_score_head] if hasattr(head, "enc_output") else []
    hooks = [module.register_forward_hook(lambda _, __, output: places.append(output)) for module in watched]
    with torch.no_grad():
        _, raw = model(image)
    for hook in hooks:
        hook.remove()
    if places:
        return tuple(places)
    heads = (raw["one2many"], raw["one2one"]) if "one2one" in raw else (raw,)
    return tuple(head[key] for head in heads for key in ("boxes", "scores"))


@ALL
def test_folding_changes_no_prediction_of_any_head(random_detector, architecture, end2end, kind):
    image = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    model = random_detector(architecture)
    expected = _predictions(model, image)
    deployed = deploy(model, end2end=end2end)
    assert output_kind(deployed) == kind
    found = _predictions(deployed, image)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))  # float32 sums in another order
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in deployed.modules())


@ALL
def test_the_deployed_model_returns_one_tensor_in_evaluation(random_detector, architecture, end2end, kind):
    model = deploy(random_detector(architecture), end2end=end2end)
    with torch.no_grad():
        output = model(torch.rand(1, 3, 64, 64))
    assert isinstance(output, torch.Tensor) and output.ndim == 3
    assert output.shape[1] == 84 if kind == "raw" else output.shape[2] == 6


@pytest.mark.parametrize("architecture", ["yolov9t", "yolov10n", "yolo12n", "rtdetr-l"])
def test_the_training_loss_still_reaches_every_weight(random_detector, architecture):
    model = deploy(random_detector(architecture)).train()
    model.args, model.nc = get_cfg(), 80  # as Ultralytics' trainer sets them
    torch.manual_seed(0)
    batch = {
        "img": torch.rand(2, 3, 96, 96),
        "batch_idx": torch.tensor([0.0, 1.0, 1.0]),
        "cls": torch.zeros(3, 1),
        "bboxes": torch.tensor([[0.5, 0.5, 0.6, 0.6], [0.3, 0.3, 0.3, 0.4], [0.7, 0.6, 0.4, 0.5]]),
    }
    model.loss(batch)[0].sum().backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    fixed = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert without == [] and all(".dfl." in name for name in fixed)


def test_what_cannot_be_deployed_is_named(random_detector):
    with pytest.raises(UnsupportedModelError, match="no end-to-end head"):
        deploy(random_detector("yolov8n"), end2end=True)
    with pytest.raises(UnsupportedModelError, match="RT-DETR has no raw head"):
        deploy(random_detector("rtdetr-l"), end2end=False)
    with pytest.raises(UnsupportedModelError, match="last layer is a Classify"):
        deploy(YOLO("yolo11n-cls.yaml").model)
    fused = random_detector("yolo26n")
    fused.model[-1].end2end = True
    with pytest.raises(UnsupportedModelError, match="one-to-many head"):
        deploy(copy.deepcopy(fused).fuse(verbose=False))
    fused.model[11] = nn.ConvTranspose2d(256, 256, 2, 2)
    with pytest.raises(UnsupportedModelError, match="transposed convolution"):
        deploy(fused)
