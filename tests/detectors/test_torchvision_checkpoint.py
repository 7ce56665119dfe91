"""The door for torchvision's detectors: what is stored comes back, and every other file is refused in one message."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

pytest.importorskip("torchvision")

from torchvision.models.detection import (
    fasterrcnn_mobilenet_v3_large_320_fpn,
    ssd300_vgg16,
    ssdlite320_mobilenet_v3_large,
)

from edgegd.detectors.deployment import class_names
from edgegd.detectors.families.ssd_detector import build_ssdlite, taken_apart
from edgegd.detectors.float_checkpoint import open_checkpoint
from edgegd.detectors.torchvision_checkpoint import ARCHITECTURE, NAMES, is_safetensors, store_torchvision
from edgegd.errors import CheckpointUnreadableError, ClassCountError, UnsupportedModelError

CLASSES = ["pedestrian", "car"]
EMPTY: dict[str, Any] = {"weights": None, "weights_backbone": None}


def _ssdlite(**arguments: Any) -> Any:
    torch.manual_seed(0)
    return ssdlite320_mobilenet_v3_large(**EMPTY, num_classes=len(CLASSES) + 1, **arguments).eval()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of a model with random weights; not to be changed."""
    path = tmp_path_factory.mktemp("weights") / "ssd.safetensors"
    store_torchvision(_ssdlite(), CLASSES, path)
    return path


def _written_again(stored: Path, path: Path, tensors: dict[str, Any], metadata: dict[str, str]) -> Path:
    """The stored file with other tensors or other metadata."""
    with safetensors.safe_open(stored, framework="pt") as file:
        given = file.metadata()
    safetensors.torch.save_file(
        {**safetensors.torch.load_file(stored), **tensors},
        path,
        {key: value for key, value in {**given, **metadata}.items() if value},
    )
    return path


def test_what_is_stored_comes_back(stored: Path, tmp_path: Path) -> None:
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    copy = tmp_path / "float.pt"  # as a run names its copy
    copy.write_bytes(stored.read_bytes())
    assert is_safetensors(copy)
    model = open_checkpoint(copy)
    assert class_names(model) == tuple(CLASSES) and not model.training
    with torch.no_grad():
        assert torch.equal(model(image), taken_apart(_ssdlite(), tuple(CLASSES)).eval()(image))


def test_a_backbone_with_imagenet_weights_has_its_full_tail(tmp_path: Path) -> None:
    full = build_ssdlite(tuple(CLASSES), reduced_tail=False).eval()
    assert full.backbone.features[1][3][0].out_channels == 960
    ssd = _ssdlite()
    ssd.backbone, head = full.backbone, ssd.head
    head.classification_head.module_list, head.regression_head.module_list = full.head.classes, full.head.boxes
    store_torchvision(ssd, CLASSES, tmp_path / "full.safetensors")
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(open_checkpoint(tmp_path / "full.safetensors")(image), full(image))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: fasterrcnn_mobilenet_v3_large_320_fpn(**EMPTY), "FasterRCNN cannot be quantized: its second stage"),
        (lambda: torch.nn.Linear(2, 2), "Linear cannot be quantized: no family"),
        (lambda: _ssdlite(image_mean=[0.4, 0.5, 0.5]), "no torchvision/ssdlite320"),
        (lambda: ssdlite320_mobilenet_v3_large(**EMPTY, num_classes=2), "no torchvision/ssdlite320"),
        (lambda: ssd300_vgg16(**EMPTY, num_classes=3), "no torchvision/ssdlite320"),
    ],
    ids=["two-stages", "no-detector", "other-normalization", "no-background", "other-ssd"],
)
def test_other_models_are_not_stored(make: Any, expected: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=expected):
        store_torchvision(make(), CLASSES, tmp_path / "x.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("torchvision/maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn cannot be quantized: its second stage crops"),
        ("torchvision/retinanet_resnet50_fpn_v2", "retinanet_resnet50_fpn_v2 cannot be quantized: no family"),
        ("", "a model without a name cannot be quantized"),
    ],
    ids=["two-stages", "no-family", "no-name"],
)
def test_a_file_of_another_architecture_is_refused_by_name(
    stored: Path, architecture: str, expected: str, tmp_path: Path
) -> None:
    path = _written_again(stored, tmp_path / "x.safetensors", {}, {ARCHITECTURE: architecture})
    with pytest.raises(UnsupportedModelError, match=expected):
        open_checkpoint(path)


@pytest.mark.parametrize(
    ("names", "error", "expected"),
    [
        (json.dumps([*CLASSES, "sign"]), CheckpointUnreadableError, "3 classes"),
        ("{", CheckpointUnreadableError, "a JSON list of names"),
        ("[" * 100_000, CheckpointUnreadableError, "a JSON list of names"),
        ("[]", CheckpointUnreadableError, "a JSON list of names"),
        (json.dumps(["a"] * 26_000), CheckpointUnreadableError, "a JSON list of names"),
        ("", CheckpointUnreadableError, "a JSON list of names"),
        (json.dumps(["car", None]), ClassCountError, "names of at most"),
    ],
    ids=["another-count", "no-json", "deep", "none", "too-many", "missing", "no-text"],
)
def test_wrong_names_are_refused(
    stored: Path, names: str, error: type[Exception], expected: str, tmp_path: Path
) -> None:
    path = _written_again(stored, tmp_path / "x.safetensors", {}, {NAMES: names})
    with pytest.raises(error) as refused:
        open_checkpoint(path)
    assert expected in refused.value.expected  # type: ignore[attr-defined]


def test_wrong_tensors_are_refused(stored: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    (tmp_path / "cut.safetensors").write_bytes(stored.read_bytes()[:-1000])
    first = "backbone.features.0.0.0.weight"
    wrong = [
        _written_again(stored, tmp_path / "nan.safetensors", {first: torch.full((16, 3, 3, 3), torch.nan)}, {}),
        _written_again(stored, tmp_path / "shape.safetensors", {first: torch.zeros(16, 3, 5, 5)}, {}),
        _written_again(stored, tmp_path / "more.safetensors", {"other": torch.zeros(2)}, {}),
        tmp_path / "cut.safetensors",
    ]
    safetensors.torch.save_file(
        {first: torch.zeros(2)}, path, {ARCHITECTURE: "torchvision/ssdlite320_mobilenet_v3_large", NAMES: '["a"]'}
    )
    for file in (*wrong, path):
        with pytest.raises(CheckpointUnreadableError, match="cannot be read as a detector of torchvision"):
            open_checkpoint(file)


def test_an_ultralytics_checkpoint_is_none(tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert not is_safetensors(tiny_checkpoint) and not is_safetensors(tmp_path) and not is_safetensors(tmp_path / "no")
    os.mkfifo(tmp_path / "pipe")  # to open it would wait for ever
    assert not is_safetensors(tmp_path / "pipe")
