"""The registry of families: which model is whose, what a family answers, and that nobody else tells heads apart."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import edgegd
from edgegd.detectors.deployment import class_names, deploy, head_paths, model_stride, output_kind
from edgegd.detectors.families.registry import FAMILIES, family_of, find_family
from edgegd.errors import UnsupportedModelError
from edgegd.plan.profiles.table import HeadPaths

YOLO_BOXES = frozenset(f"model.22.{head}.{level}.2" for head in ("cv2", "one2one_cv2") for level in range(3))
# architecture, its family, the kinds of output by model.end2end
KNOWN = [
    ("yolov8n", "YOLO", {None: "raw"}),
    ("yolov9t", "YOLO", {None: "raw"}),
    ("yolov10n", "YOLO", {True: "end2end", False: "raw"}),
    ("yolo11n", "YOLO", {None: "raw"}),
    ("yolo12n", "YOLO", {None: "raw"}),
    ("yolo26n", "YOLO", {True: "end2end", False: "raw"}),
    ("rtdetr-l", "RT-DETR", {None: "queries", True: "queries"}),
]


def _detector(architecture: str, classes: int = 3) -> Any:
    from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel

    torch.manual_seed(0)
    kind = RTDETRDetectionModel if architecture.startswith("rtdetr") else DetectionModel
    return kind(f"{architecture}.yaml", nc=classes, verbose=False).eval()


@pytest.mark.parametrize(("architecture", "name", "kinds"), KNOWN, ids=[row[0] for row in KNOWN])
def test_every_known_family_is_recognised_by_one_and_answers(
    architecture: str, name: str, kinds: dict[bool | None, str]
) -> None:
    model = _detector(architecture)
    assert [family.name for family in FAMILIES if family.recognises(model)] == [name]
    for end2end, kind in kinds.items():
        deployed = deploy(_detector(architecture), end2end=end2end)
        assert family_of(deployed).name == name and output_kind(deployed) == kind
    assert class_names(deployed) == ("0", "1", "2") and model_stride(deployed) == 32
    paths = head_paths(deployed)
    modules = dict(deployed.named_modules())
    assert modules[paths.path] is family_of(deployed).head(deployed)
    inside = [path for path in (*paths.box_convolutions, *paths.query_decoders) if path in modules]
    assert inside and all(path.startswith(f"{paths.path}.") for path in inside)
    assert all(isinstance(modules[path], nn.Conv2d) for path in paths.box_convolutions if path in modules)


def test_the_head_paths_of_yolov8_and_rt_detr_are_theirs() -> None:
    assert head_paths(_detector("yolov8n")) == HeadPaths("model.22", YOLO_BOXES)
    paths = head_paths(_detector("rtdetr-l"))
    assert paths.box_convolutions == frozenset() and "model.28.decoder" in paths.query_decoders


@pytest.mark.parametrize("architecture", ["yolov8n", "rtdetr-l"])
def test_what_enters_the_head_is_a_list_of_maps(architecture: str) -> None:
    model = deploy(_detector(architecture))
    maps: list[Any] = []
    family_of(model).head(model).register_forward_pre_hook(lambda _, arguments: maps.extend(arguments[0]))
    with torch.no_grad():
        model(torch.rand(1, 3, 128, 128))
    assert [tuple(level.shape[2:]) for level in maps] == [(16, 16), (8, 8), (4, 4)]


def test_models_of_no_family_are_refused_by_name() -> None:
    from ultralytics.nn.tasks import ClassificationModel

    with pytest.raises(UnsupportedModelError, match="last layer is a Classify"):
        family_of(ClassificationModel("yolo11n-cls.yaml", verbose=False))
    with pytest.raises(UnsupportedModelError, match="is a Linear") as refused:
        family_of(nn.Linear(2, 2))
    assert refused.value.found == "Linear" and "RT-DETR" in refused.value.expected
    assert find_family(nn.Linear(2, 2)) is None


def test_heads_that_cannot_be_compared_say_why() -> None:
    reasons = {family.name: family.no_head_distillation for family in FAMILIES}
    assert reasons["YOLO"] == reasons["SSD"] == "" and "queries" in reasons["RT-DETR"]
    model = _detector("rtdetr-l")
    with pytest.raises(NotImplementedError, match="queries"):
        family_of(model).show_predictions(model)


def _tells_heads_apart(node: ast.AST) -> bool:
    """Whether a piece of code knows a head's class, a criterion's class, or the name of a second head."""
    known = {"Detect", "RTDETRDecoder", "RTDETRDetectionModel", "E2ELoss", "v10Detect", "SsdDetector", "TorchvisionSsd"}
    if isinstance(node, (ast.Name, ast.Attribute, ast.alias)):
        name = {ast.Name: "id", ast.Attribute: "attr", ast.alias: "name"}[type(node)]
        return getattr(node, name) in known
    if isinstance(node, ast.Constant):
        return node.value in ("one2one_cv2", "one2one", "one2many")
    return False


def test_nobody_but_the_families_tells_heads_apart() -> None:
    package = Path(edgegd.__file__).parent
    found = {
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        if any(_tells_heads_apart(node) for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    }
    assert found and all(name.startswith("detectors/families/") for name in found)
