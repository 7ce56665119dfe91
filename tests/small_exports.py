"""Small detectors with random weights, calibrated and exported; made once a session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgegd.detectors.deployment import deploy, detection_head, plan_detector
from edgegd.export.graph import build_graph
from edgegd.export.metadata import contract_of, set_metadata
from edgegd.plan.quant_plan import QuantPlan
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate

IMGSZ, OPSET = 96, 17
torch.set_num_threads(1)


@dataclass(frozen=True)
class Exported:
    """One model: in float, quantized, its plan, both files."""

    model: Any
    quantized: QuantizedModel
    plan: QuantPlan
    fp32: Path
    ptq: Path


def random_model(architecture: str, images: torch.Tensor) -> Any:
    """A DetectionModel of four classes whose BatchNorm is no identity and whose scores spread over 0..1."""
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(1)
    model = DetectionModel(f"{architecture}.yaml", ch=images.shape[1], nc=4, verbose=False)
    model.names = dict(enumerate(("ant", "bee", "cat", "dog")))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # statistics of the images: without them a random model's activations vanish
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, 0, 0.1)
    with torch.no_grad():
        model.train()(images)
    model.eval()
    head = detection_head(model)
    for name in ("cv2", "cv3", "one2one_cv2", "one2one_cv3"):  # boxes of some cells, scores that do not saturate
        for branch in getattr(head, name, None) or ():
            nn.init.normal_(branch[-1].weight, 0, 0.1 if name.endswith("cv3") else 0.02)
            nn.init.constant_(branch[-1].bias, -2.0 if name.endswith("cv3") else 1.0)
    return model


def quantize(model: Any, images: torch.Tensor) -> QuantizedModel:
    """Plans and calibrates a deployed model."""
    quantized = QuantizedModel(model, plan_detector(model, tuple(images.shape[-2:]), "x86-vnni"))
    calibrate(quantized, images.split(2), "mse")
    return quantized.eval()


def _write(path: Path, model: Any, detector: Any, plan: QuantPlan, variant: str) -> Path:
    """Exports as the pipeline does."""
    graph = build_graph(model, plan.imgsz, OPSET)
    origin = ("", "") if variant == "fp32" else (plan.sha256, plan.profile)
    set_metadata(graph, detector, contract_of(graph, detector, plan.imgsz, variant, *origin))
    onnx.save(graph, path)
    return path


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four small pictures with structure: blurred noise and rectangles."""
    folder, random, paths = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0), []
    for index in range(4):
        picture = cv2.resize(random.integers(0, 256, (12, 16, 3), dtype=np.uint8), (128, 96))
        cv2.rectangle(picture, (20 + 9 * index, 15), (60, 50 + 8 * index), (255, 255 * (index % 2), 0), -1)
        paths.append(folder / f"{index}.png")
        cv2.imwrite(str(paths[-1]), picture)
    return paths


@pytest.fixture(scope="session")
def images(pictures: list[Path]) -> torch.Tensor:
    """The pictures as network inputs (4, 3, 96, 96)."""
    from edgegd.runtime.contract import Preprocessing
    from edgegd.runtime.letterbox import preprocess

    inputs = [preprocess(cv2.imread(str(path)), Preprocessing((IMGSZ, IMGSZ)))[0] for path in pictures]
    return torch.from_numpy(np.concatenate(inputs))


@pytest.fixture(scope="session")
def exported(images: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Exported]:
    """exported(architecture, end2end=None): tests must not change its models."""

    @cache
    def make(architecture: str, end2end: bool | None = None) -> Exported:
        folder = tmp_path_factory.mktemp(f"{architecture}-{end2end}")
        model = deploy(random_model(architecture, images), end2end=end2end)
        quantized = quantize(model, images)
        fp32 = _write(folder / "fp32.onnx", model, model, quantized.plan, "fp32")
        return Exported(
            model, quantized, quantized.plan, fp32, _write(folder / "ptq.onnx", quantized, model, quantized.plan, "ptq")
        )

    return make


@pytest.fixture(scope="session")
def write() -> Callable[..., Path]:
    """write(path, model, detector, plan, variant): exports as the pipeline does."""
    return _write


@pytest.fixture(scope="session")
def calibrated() -> Callable[..., QuantizedModel]:
    """calibrated(architecture, end2end, images): a model for the images (N, C, H, W), calibrated on them."""

    def make(architecture: str, end2end: bool | None, images: torch.Tensor) -> QuantizedModel:
        return quantize(deploy(random_model(architecture, images), end2end=end2end), images)

    return make
