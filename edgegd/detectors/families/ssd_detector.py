"""torchvision's SSD in a form that can be deployed: images in 0..1 in, one tensor of decoded boxes and scores out.

torchvision normalizes and resizes images in front of the network, makes its anchors anew for each image, and ends in a
choice of boxes whose number depends on the image. Here the network takes images as they are given to every detector of
edgegd, anchors are constants of the image's size, and the choice is left to the runtime's NMS, as for a raw YOLO.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

STRIDE = 32
"""Of the second map; the later ones halve whatever is left, rounded up."""


class SsdDetector(nn.Module):
    """`ssd` is a torchvision SSD, which is taken apart: its backbone and head are then this module's.

    forward(image (N, 3, H, W) float32 in 0..1) returns in evaluation mode (N, 4 + classes, boxes): cx cy w h in pixels,
    and the probability of each class without the background's. In training mode a dict of `logits`
    (N, 1 + classes, boxes), background first, and `offsets` (N, 4, boxes) from the default boxes.
    """

    def __init__(self, ssd: Any, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names, self.stride = dict(enumerate(names)), torch.tensor([float(STRIDE)])
        self.backbone = _with_residuals(ssd.backbone)
        self.head = SsdHead(ssd)
        # Values, so that they can be folded into the first convolution; () once they are.
        self.mean, self.std = tuple(ssd.transform.image_mean), tuple(ssd.transform.image_std)
        # What is left of torchvision's model has no parameters: default boxes, coding of boxes, matching, loss.
        ssd.backbone, ssd.head = nn.Identity(), nn.Identity()
        self.rules = ssd

    def forward(self, image: torch.Tensor) -> Any:
        """See the class."""
        size = int(image.shape[2]), int(image.shape[3])
        if self.mean:
            mean, std = (image.new_tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
            image = (image - mean) / std
        features = list(self.backbone(image).values())
        return self.head(features, self.rules.anchor_generator, size)

    @torch.no_grad()
    def fold_normalization(self) -> None:
        """Makes the first convolution read the image itself. Exact but for the border: there it pads with 0, which was
        the mean's value and is black now."""
        first = next(module for module in self.backbone.modules() if isinstance(module, nn.Conv2d))
        if first.bias is None:
            first.bias = nn.Parameter(first.weight.new_zeros(first.out_channels))
        mean, std = (first.weight.new_tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        first.weight /= std
        first.bias -= (first.weight * mean).sum((1, 2, 3))
        self.mean = self.std = ()


class _Residual(nn.Module):
    """An InvertedResidual of torchvision, its addition out of place: the gradient of fake quantization needs both."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.block(x) + x
        return result


def _with_residuals(backbone: Any) -> Any:
    for parent in [*backbone.modules()]:
        for name, child in parent.named_children():
            if getattr(child, "use_res_connect", False):
                setattr(parent, name, _Residual(child.block))
    return backbone


class SsdHead(nn.Module):
    """The branches of torchvision's head, a pair a feature map, and the decoding of what they make."""

    def __init__(self, ssd: Any) -> None:
        super().__init__()
        self.classes: nn.ModuleList = ssd.head.classification_head.module_list
        self.boxes: nn.ModuleList = ssd.head.regression_head.module_list
        self.shapes = tuple(ssd.anchor_generator.num_anchors_per_location())
        self.weights, self.largest_log = tuple(ssd.box_coder.weights), float(ssd.box_coder.bbox_xform_clip)
        self.default_boxes = _DefaultBoxes()

    def forward(self, features: list[torch.Tensor], generator: Any, size: tuple[int, int]) -> Any:
        """See SsdDetector; `features` are the maps (N, C, h, w), `size` the image's (height, width)."""
        default = self.default_boxes(features, generator, size)
        logits = torch.cat([self._columns(*row) for row in zip(self.classes, features, self.shapes, strict=True)], 2)
        offsets = torch.cat([self._columns(*row) for row in zip(self.boxes, features, self.shapes, strict=True)], 2)
        if self.training:
            return {"logits": logits, "offsets": offsets}
        # Ren et al. 2015 (Faster R-CNN), equation 2, with the variances of SSD (torchvision's BoxCoder.decode_single).
        of_center, of_size = self.weights[0], self.weights[2]
        centers = offsets[:, :2] / of_center * default[2:] + default[:2]
        sizes = (offsets[:, 2:] / of_size).clamp(max=self.largest_log).exp() * default[2:]
        scores = F.softmax(logits, 1)[:, 1:]
        return torch.cat([centers, sizes, scores], 1)

    def _columns(self, branch: nn.Module, feature: torch.Tensor, boxes: int) -> torch.Tensor:
        values = branch(feature)
        kinds, places = values.shape[1] // boxes, int(values.shape[2]) * int(values.shape[3])
        values = values.reshape(-1, boxes, int(kinds), places)  # (N, boxes * kinds, h, w) -> (N, boxes, kinds, h * w)
        return values.permute(0, 2, 3, 1).reshape(-1, int(kinds), places * boxes)  # -> (N, kinds, h * w * boxes)


class _DefaultBoxes(nn.Module):
    """torchvision's default boxes of an image's size, as (4, boxes): cx cy w h in pixels; made once a size.

    A module of its own, so that making them changes no address of the head's operations.
    """

    values: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("values", torch.zeros(4, 0), persistent=False)
        self._size = (0, 0)

    def forward(self, features: list[torch.Tensor], generator: Any, size: tuple[int, int]) -> torch.Tensor:
        if size != self._size or self.values.device != features[0].device:
            from torchvision.models.detection.image_list import ImageList

            corners = generator(ImageList(features[0].new_zeros(1, 1, *size), [size]), features)[0]  # (boxes, 4)
            low, high = corners[:, :2].detach().T, corners[:, 2:].detach().T
            self.values, self._size = torch.cat([(low + high) / 2, high - low]), size
        return self.values


def build_ssdlite(names: tuple[str, ...], *, reduced_tail: bool) -> SsdDetector:
    """torchvision's ssdlite320_mobilenet_v3_large with random weights, for these classes.

    `reduced_tail` is what torchvision chooses unless the backbone comes with ImageNet weights. Nothing is downloaded.
    """
    from torchvision.models import mobilenet_v3_large
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large
    from torchvision.models.detection._utils import retrieve_out_channels
    from torchvision.models.detection.ssdlite import SSDLiteHead, _mobilenet_extractor

    ssd: Any = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=len(names) + 1)
    if not reduced_tail:  # torchvision itself makes this form with downloaded weights only
        norm: Any = lambda channels: nn.BatchNorm2d(channels, eps=0.001, momentum=0.03)  # noqa: E731 -- as torchvision
        ssd.backbone = _mobilenet_extractor(mobilenet_v3_large(weights=None, norm_layer=norm), 6, norm)
        channels = retrieve_out_channels(ssd.backbone, (320, 320))
        per_place = ssd.anchor_generator.num_anchors_per_location()
        ssd.head = SSDLiteHead(channels, per_place, len(names) + 1, norm)
    return SsdDetector(ssd, names)


def taken_apart(ssd: Any, names: tuple[str, ...]) -> SsdDetector:
    """A copy of a torchvision SSD as a detector of edgegd; `ssd` stays as it is."""
    return SsdDetector(copy.deepcopy(ssd), names)
