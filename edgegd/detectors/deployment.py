"""The deployed form of a detector: BatchNorm folded into the convolutions, one output, a static shape.

Folding for good, before any weight is quantized, makes training and export quantize the same numbers. What differs
between kinds of detectors is asked of their family (edgegd.detectors.families).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from edgegd.detectors.families.registry import family_of
from edgegd.network_size import NetworkSize, network_size
from edgegd.plan.planning import build_plan
from edgegd.plan.profiles.table import HeadPaths
from edgegd.plan.quant_plan import QuantPlan
from edgegd.plan.traced_op import TracedOp
from edgegd.quant.tracing import trace


def detection_head(model: nn.Module) -> Any:
    """The model's detection head; UnsupportedModelError, which names its last layer, for a model of no known family."""
    return family_of(model).head(model)


def deploy(model: nn.Module, *, end2end: bool | None = None, fold: bool = True) -> Any:
    """Folds BatchNorm in place and makes the model return one tensor; both heads of a dual-head model are kept.

    The model is float32 afterwards. `end2end` chooses the deployed head of a dual-head model; None keeps its own.
    A family with one head refuses what it does not have (UnsupportedModelError). With `fold` false BatchNorm stays, to
    be trained on in float.
    """
    return family_of(model).deploy(model, end2end=end2end, fold=fold)


def head_paths(model: nn.Module) -> HeadPaths:
    """The head's path, and the paths of the last convolution of every box branch (RT-DETR has none)."""
    return family_of(model).head_paths(model)


def output_kind(model: nn.Module) -> str:
    """The kind of the deployed output: `queries` for RT-DETR, `end2end` or `raw` (runtime/contract.py)."""
    return family_of(model).output_kind(model)


def class_names(model: nn.Module) -> tuple[str, ...]:
    """The names of a detector's classes in the order of their ids."""
    return family_of(model).class_names(model)


def model_stride(model: nn.Module) -> int:
    """The pixels of which each side of a detector's images must be a multiple."""
    return family_of(model).stride(model)


def input_channels(model: nn.Module) -> int:
    """Channels of the images that a detector takes: those that its first convolution reads."""
    return next(module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d))


def plan_detector(
    model: nn.Module,
    imgsz: int | NetworkSize,
    profile: str,
    *,
    float_patterns: Sequence[str] = (),
    rules: Mapping[str, str] | None = None,
) -> QuantPlan:
    """The plan of a deployed detector for images of `imgsz`, (height, width) or the side of a square in px, and a
    runtime profile.

    `float_patterns` and `rules` are a recipe's quant.float and quant.rules (see build_plan, also for PlanError).
    """
    return build_plan(
        trace_detector(model, imgsz),
        head_paths(model),
        profile,
        imgsz=network_size(imgsz),
        float_patterns=float_patterns,
        rules=rules,
    )


def trace_detector(model: nn.Module, imgsz: int | NetworkSize) -> tuple[TracedOp, ...]:
    """The operations of a deployed detector for images as `plan_detector` takes; `require_plan_fits` takes them too."""
    device = next(model.parameters()).device
    return trace(model, torch.zeros(1, input_channels(model), *network_size(imgsz), device=device))
