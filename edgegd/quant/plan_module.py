"""The plan of any torch module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from edgegd.errors import UnsupportedModelError
from edgegd.plan.planning import build_plan
from edgegd.plan.profiles.table import HeadPaths
from edgegd.plan.quant_plan import QuantPlan
from edgegd.quant.tracing import trace


def plan_module(
    model: nn.Module,
    image: torch.Tensor,
    profile: str,
    *,
    float_patterns: Sequence[str] = (),
    rules: Mapping[str, str] | None = None,
) -> QuantPlan:
    """The plan of any module that computes the same operations at every call; no part of it is a detection head.

    `image` is float32 of shape (N, C, H, W). Operations without a rule stay float, with the rule `no-rule` and a reason
    that names them. BatchNorm is such an operation where it was not folded into the convolution before it.

    Raises:
        UnsupportedModelError: the operations depend on the batch size or differ from call to call.
        PlanError: as build_plan.
    """
    ops = trace(model, image)
    doubled = trace(model, torch.cat([image, image]))
    if [op.address for op in ops] != [op.address for op in doubled]:
        raise UnsupportedModelError(
            "The model's operations depend on the batch size or differ from call to call.",
            expected=f"{len(ops)} operations at every call",
            found=f"{len(doubled)} operations for twice the images",
            mend="make the forward pass static",
        )
    height, width = image.shape[-2:]
    return build_plan(
        ops, HeadPaths("", frozenset()), profile, imgsz=(height, width), float_patterns=float_patterns, rules=rules
    )
