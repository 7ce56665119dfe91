"""Ultralytics' augmented training images, all of exactly one size (height, width) that need not be a square.

Ultralytics trains on squares: its loader resizes to a side, its mosaic and its random scaling and shift make squares
(data/base.py, data/augment.py). Three things differ here, and for a square none does: an image is resized so that it
fits into the rectangle, as the letterbox of edgegd.runtime does; a mosaic is laid on a canvas of twice each side; and
scaling and shift end on the rectangle. Labels follow by Ultralytics' own code.
"""

from __future__ import annotations

import math
import random
from typing import Any

import cv2
import numpy as np
from ultralytics.data.augment import BaseMixTransform, Compose, Mosaic, RandomPerspective
from ultralytics.data.dataset import YOLODataset
from ultralytics.utils import IterableSimpleNamespace

from edgegd.network_size import NetworkSize
from edgegd.runtime.images import read_image


class SizedImages(YOLODataset):
    """The images of list files with their labels; an item's `img` is uint8 (C, H, W), augmented as `hyp` says.

    `mixed` of an item says whether a mosaic made it of several images.

    `size` is (H, W). Images are read by edgegd.runtime, as everywhere else. Raises UnreadableImageError for an item.
    """

    def __init__(
        self,
        list_files: list[str],
        names: dict[int, str],
        channels: int,
        size: NetworkSize,
        hyp: IterableSimpleNamespace,
    ) -> None:
        self.network_size = size
        super().__init__(
            img_path=list_files,
            imgsz=max(size),
            batch_size=hyp.batch,
            augment=True,
            hyp=hyp,
            task="detect",
            data={"names": names, "nc": len(names), "channels": channels},
        )
        # As if all images were in memory: none is remembered between items, and mosaics draw from all of them instead
        # of from those that this process happened to load last.
        self.cache = "ram"
        self.transforms = self.build_transforms(hyp)
        self.mixed = False

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Item `index`."""
        self.mixed = False
        item: dict[str, Any] = super().__getitem__(index)
        return item | {"mixed": self.mixed}

    def load_image(
        self, i: int, rect_mode: bool = True, resize_short: bool = False
    ) -> tuple[np.ndarray, tuple[int, int], tuple[int, int]]:
        """Image `i` as large as fits into the size, with its (height, width) before and after."""
        image: np.ndarray = read_image(self.im_files[i], self.channels)
        original = image.shape[:2]
        ratio = min(side / own for side, own in zip(self.network_size, original, strict=True))
        if ratio != 1:
            height, width = (
                min(math.ceil(own * ratio), side) for side, own in zip(self.network_size, original, strict=True)
            )
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        image = image[..., None] if image.ndim == 2 else image  # OpenCV drops an axis of one channel
        return image, original, image.shape[:2]

    def build_transforms(self, hyp: IterableSimpleNamespace) -> Compose:
        """Ultralytics' transforms with the two that make squares replaced."""
        transforms = super().build_transforms(hyp)
        first = transforms.transforms[0].transforms  # mosaic, copy-paste, scaling and shift
        for index, transform in enumerate(first):
            if isinstance(transform, Mosaic):
                first[index] = SizedMosaic(self, self.network_size, transform.p)
            elif isinstance(transform, RandomPerspective):
                transform.size = self.network_size[::-1]
        return transforms


class SizedMosaic(Mosaic):
    """Four images around a random point of a canvas of twice the height and width of `size`."""

    def __init__(self, dataset: SizedImages, size: NetworkSize, p: float) -> None:
        super().__init__(dataset, imgsz=max(size), p=p)
        self.size = size

    def get_params(self, labels: dict[str, Any]) -> dict[str, Any]:
        """Where each of the four images lies on the canvas (a), and which part of it is seen (b)."""
        params = BaseMixTransform.get_params(self, labels)
        y, x = (int(random.uniform(side / 2, 2 * side - side / 2)) for side in self.size)
        params["layout"] = []
        for number, patch in enumerate((labels, *labels["mix_labels"])):
            height, width = patch.get("resized_shape", patch["img"].shape[:2])
            top = y - height if number < 2 else y
            left = x - width if number % 2 == 0 else x
            y1, y2 = max(top, 0), min(top + height, 2 * self.size[0])
            x1, x2 = max(left, 0), min(left + width, 2 * self.size[1])
            params["layout"].append(
                {
                    "labels_patch": patch,
                    "x1a": x1,
                    "y1a": y1,
                    "x2a": x2,
                    "y2a": y2,
                    "padw": left,
                    "padh": top,
                    "x1b": x1 - left,
                    "y1b": y1 - top,
                    "x2b": x2 - left,
                    "y2b": y2 - top,
                    "img_shape": (height, width),
                }
            )
        return params

    def apply_image(self, labels: dict[str, Any], params: dict[str, Any] | None = None) -> dict[str, Any]:
        """The canvas with the four images."""
        assert params is not None
        self.dataset.mixed = True
        height, width = (2 * side for side in self.size)
        canvas = np.full((height, width, labels["img"].shape[2]), 114, dtype=np.uint8)
        for at in params["layout"]:
            seen = at["labels_patch"]["img"][at["y1b"] : at["y2b"], at["x1b"] : at["x2b"]]
            canvas[at["y1a"] : at["y2a"], at["x1a"] : at["x2a"]] = seen
        labels["img"] = canvas
        return labels

    def _cat_labels(self, mosaic_labels: list[dict[str, Any]]) -> dict[str, Any]:
        joined = super()._cat_labels(mosaic_labels)  # cut at the square of the longer side
        height, width = (2 * side for side in self.size)
        joined["instances"].clip(width, height)
        joined["cls"] = joined["cls"][joined["instances"].remove_zero_area_boxes()]
        joined["resized_shape"] = (height, width)
        return joined
