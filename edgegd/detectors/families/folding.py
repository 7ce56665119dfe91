"""BatchNorm and parallel branches become one convolution, for good, as Ultralytics' fuse() does it."""

from __future__ import annotations

from typing import Any

from torch import nn
from ultralytics.nn.modules import Conv, Conv2, RepConv
from ultralytics.nn.modules.block import RepVGGDW
from ultralytics.nn.modules.conv import ConvTranspose
from ultralytics.utils.torch_utils import fuse_conv_and_bn

from edgegd.errors import UnsupportedModelError


def fold_all(model: nn.Module) -> None:
    """Folds every BatchNorm of a model in place; UnsupportedModelError for one that follows no convolution, and for a
    transposed convolution."""
    for module in model.modules():  # lazily: what a fold takes out of its module is not visited
        _fold(module)
    left = [name for name, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if left:
        raise UnsupportedModelError(
            f"The model has a BatchNorm that no convolution precedes: {left[0]}.",
            expected="BatchNorm right after a convolution",
            mend="use a detector as Ultralytics ships it",
        )


def learn_everything(model: nn.Module) -> None:
    """Lets all parameters learn but those of a DFL: the expected value of a distribution is no weight to learn."""
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    for module in model.modules():
        if type(module).__name__ == "DFL":
            module.requires_grad_(False)


def _fold(layer: nn.Module) -> None:
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
