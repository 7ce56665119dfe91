"""The deployed form of an Ultralytics detector: BatchNorm folded into the convolutions, one output, a static shape.

Folding for good, before any weight is quantized, makes training and export quantize the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from ultralytics.nn.modules import Conv, Conv2, Detect, RepConv, RTDETRDecoder
from ultralytics.nn.modules.block import RepVGGDW
from ultralytics.nn.modules.conv import ConvTranspose
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.torch_utils import fuse_conv_and_bn

from edgegd.errors import UnsupportedModelError
from edgegd.network_size import NetworkSize, network_size
from edgegd.quant.plan import QuantPlan
from edgegd.quant.planning import build_plan
from edgegd.quant.rules.table import HeadPaths
from edgegd.quant.tracing import TracedOp, trace

_QUERY_DECODERS = (
    "decoder",
    "query_pos_head",
    "enc_output",
    "enc_score_head",
    "enc_bbox_head",
    "dec_score_head",
    "dec_bbox_head",
)


def detection_head(model: DetectionModel) -> Detect | RTDETRDecoder:
    """The model's detection head; UnsupportedModelError where it is neither an Ultralytics `Detect` nor RT-DETR's."""
    head = model.model[-1]  # type: ignore[index]
    if not isinstance(head, (Detect, RTDETRDecoder)):
        raise UnsupportedModelError(
            f"The model's last layer is a {type(head).__name__}.",
            expected="the head of an Ultralytics detector (YOLOv8, v9, v10, 11, 12, 26, RT-DETR)",
            found=type(head).__name__,
            mend="choose a checkpoint of one of these families",
        )
    return head


def deploy(model: DetectionModel, *, end2end: bool | None = None, fold: bool = True) -> DetectionModel:
    """Folds BatchNorm in place and makes the head return one tensor; both heads of a dual-head model are kept.

    The model is float32 afterwards. `end2end` chooses the deployed head of a dual-head model; None keeps its own.
    RT-DETR has one head, which needs no NMS. With `fold` false BatchNorm stays, to be trained on in float.
    """
    head: Any = detection_head(model)
    _require_unfused(head, end2end)
    model.float()
    if fold:
        _fold_all(model)
    if end2end is not None and isinstance(head, Detect):
        head.end2end = end2end
    head.export, head.format = True, "onnx"
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    for module in model.modules():  # the expected value of a distribution is no weight to learn
        if type(module).__name__ == "DFL":
            module.requires_grad_(False)
    return model


def _fold_all(model: DetectionModel) -> None:
    for module in model.modules():  # lazily: what a fold takes out of its module is not visited
        _fold(module)
    left = [name for name, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if left:
        raise UnsupportedModelError(
            f"The model has a BatchNorm that no convolution precedes: {left[0]}.",
            expected="BatchNorm right after a convolution",
            mend="use a detector as Ultralytics ships it",
        )


def _require_unfused(head: Any, end2end: bool | None) -> None:
    if isinstance(head, RTDETRDecoder):
        if end2end is False:
            raise UnsupportedModelError(
                "model.end2end is false, but RT-DETR has no raw head.", mend="leave model.end2end out"
            )
        return
    if end2end and getattr(head, "one2one_cv2", None) is None:
        raise UnsupportedModelError(
            "model.end2end is true, but the checkpoint has no end-to-end head.",
            mend="leave model.end2end out, or use a YOLOv10 or YOLO26 checkpoint",
        )
    if head.cv2 is None:
        raise UnsupportedModelError(
            "The checkpoint was fused: its one-to-many head, which training needs, is gone.",
            mend="use the checkpoint as Ultralytics' training saved it",
        )


def _fold(layer: nn.Module) -> None:
    """Folds one module's BatchNorm and parallel branches into one convolution, as Ultralytics' fuse() does."""
    module: Any = layer
    if isinstance(module, (ConvTranspose, nn.ConvTranspose2d)):
        raise UnsupportedModelError(
            "The model has a transposed convolution, which onnxruntime's CPU provider does not run in integers.",
            mend="use a detector without one (YOLOv8, v9, v10, 11, 12, 26, RT-DETR)",
        )
    if isinstance(module, RepConv) and not hasattr(module, "conv"):
        module.fuse_convs()
        module.forward = module.forward_fuse  # type: ignore[method-assign]
    elif isinstance(module, RepVGGDW) and hasattr(module, "conv1"):
        module.fuse()
        module.forward = module.forward_fuse  # type: ignore[method-assign]
    elif isinstance(module, Conv) and hasattr(module, "bn"):
        if isinstance(module, Conv2):
            module.fuse_convs()
        module.conv = fuse_conv_and_bn(module.conv, module.bn)
        del module.bn
        module.forward = module.forward_fuse  # type: ignore[method-assign]
    elif isinstance(module, nn.Sequential):
        for index in range(len(module) - 1):
            if isinstance(module[index], nn.Conv2d) and isinstance(module[index + 1], nn.BatchNorm2d):
                module[index] = fuse_conv_and_bn(module[index], module[index + 1])
                module[index + 1] = nn.Identity()


def head_paths(model: DetectionModel) -> HeadPaths:
    """The head's path, and the paths of the last convolution of every box branch (RT-DETR has none)."""
    layers: Any = model.model
    head: Any = detection_head(model)
    path = f"model.{len(layers) - 1}"
    if isinstance(head, RTDETRDecoder):
        return HeadPaths(path, frozenset(), tuple(f"{path}.{name}" for name in _QUERY_DECODERS))
    last = {f"cv2.{i}.{len(branch) - 1}" for i, branch in enumerate(head.cv2)}
    last |= {name.replace("cv2", "one2one_cv2", 1) for name in last}
    return HeadPaths(path, frozenset(f"{path}.{name}" for name in last))


def output_kind(model: DetectionModel) -> str:
    """The kind of the deployed output: `queries` for RT-DETR, `end2end` or `raw` (runtime/contract.py)."""
    head = detection_head(model)
    if isinstance(head, RTDETRDecoder):
        return "queries"
    return "end2end" if head.end2end else "raw"


def input_channels(model: nn.Module) -> int:
    """Channels of the images that a detector takes: those that its first convolution reads."""
    return next(module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d))


def plan_detector(
    model: DetectionModel,
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


def trace_detector(model: DetectionModel, imgsz: int | NetworkSize) -> tuple[TracedOp, ...]:
    """The operations of a deployed detector for images as `plan_detector` takes; `require_plan_fits` takes them too."""
    device = next(model.parameters()).device
    return trace(model, torch.zeros(1, input_channels(model), *network_size(imgsz), device=device))
