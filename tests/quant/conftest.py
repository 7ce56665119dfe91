"""Small deployed detectors with random weights and random BatchNorm statistics, their traces and plans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from edgegd.quant.folding import deploy, head_paths
from edgegd.quant.plan import QuantPlan
from edgegd.quant.planning import build_plan
from edgegd.quant.rules.table import HeadPaths
from edgegd.quant.tracing import TracedOp, trace

torch.set_num_threads(1)


@dataclass(frozen=True)
class Deployed:
    """A deployed model with its head, its trace and its plan."""

    model: Any
    head: HeadPaths
    ops: tuple[TracedOp, ...]
    plan: QuantPlan


def random_detector(architecture: str) -> Any:
    """An undeployed DetectionModel in evaluation mode; its BatchNorm statistics are no identity."""
    from ultralytics import RTDETR, YOLO

    torch.manual_seed(0)
    model = (RTDETR if "rtdetr" in architecture else YOLO)(f"{architecture}.yaml").model.eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, 0, 0.1)
    return model


@cache
def _deployed(architecture: str, end2end: bool | None) -> Deployed:
    model = deploy(random_detector(architecture), end2end=end2end)
    head = head_paths(model)
    ops = trace(model, torch.zeros(1, 3, 64, 64))
    return Deployed(model, head, ops, build_plan(ops, head, "x86-vnni", imgsz=(64, 64)))


@pytest.fixture(scope="session")
def deployed() -> Callable[..., Deployed]:
    """deployed(architecture, end2end=None): made once a session; tests must not change its model."""
    return lambda architecture, end2end=None: _deployed(architecture, end2end)
