"""Letterboxing: resize with the aspect ratio kept, fill the border, and map boxes back.

Pixel for pixel ultralytics.data.augment.LetterBox(new_shape, auto=False, scaleup=True, center=True), and box for box
ultralytics.utils.ops.scale_boxes; the tests compare both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgegd.runtime.contract import Preprocessing
from edgegd.runtime.opencv import require_opencv


@dataclass(frozen=True)
class LetterboxGeometry:
    """Where an image lies inside the network's input.

    `gain_x` and `gain_y` are resized side / original side (they differ because each side is rounded to a pixel);
    `pad_left` and `pad_top` are border pixels; `resized` and `original` are (height, width) in pixels.
    """

    gain_x: float
    gain_y: float
    pad_left: int
    pad_top: int
    resized: tuple[int, int]
    original: tuple[int, int]

    @classmethod
    def fit(cls, original: tuple[int, int], imgsz: tuple[int, int]) -> LetterboxGeometry:
        """The geometry of an image of size `original` centred in `imgsz`, both (height, width) in pixels."""
        gain = min(imgsz[0] / original[0], imgsz[1] / original[1])
        height, width = (max(round(side * gain), 1) for side in original)  # a very thin image keeps one pixel
        # An odd border gives its extra pixel to the bottom or right: -0.1 rounds a half down here.
        pad_top, pad_left = round((imgsz[0] - height) / 2 - 0.1), round((imgsz[1] - width) / 2 - 0.1)
        return cls(width / original[1], height / original[0], pad_left, pad_top, (height, width), original)

    def to_original(self, boxes: NDArray[np.float32], *, clip: bool = True) -> NDArray[np.float32]:
        """Boxes (N, 4) x1 y1 x2 y2 in network pixels -> the same in original pixels, float32.

        `clip` cuts them at the image's border, as prediction does; validation compares whole boxes.
        """
        height, width = self.original
        pad = np.array([self.pad_left, self.pad_top] * 2, dtype=np.float32)
        gain = np.array([self.gain_x, self.gain_y] * 2, dtype=np.float32)
        limit = np.array([width, height] * 2, dtype=np.float32)
        moved = (boxes.astype(np.float32) - pad) / gain
        return np.clip(moved, np.float32(0), limit) if clip else moved


def letterbox(
    image: NDArray[np.uint8], preprocessing: Preprocessing
) -> tuple[NDArray[np.uint8], LetterboxGeometry]:
    """The image (H, W, 3) uint8 BGR resized and padded to preprocessing.imgsz, with the geometry to map boxes back.

    Raises:
        ValueError: the image is not a non-empty (H, W, 3) uint8 array.
        MissingExtraError: OpenCV is not installed.
    """
    require_image(image)
    cv2 = require_opencv()
    geometry = LetterboxGeometry.fit((image.shape[0], image.shape[1]), preprocessing.imgsz)
    height, width = geometry.resized
    if geometry.resized != geometry.original:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    padded = np.empty((*preprocessing.imgsz, 3), dtype=np.uint8)
    padded[:] = preprocessing.letterbox_color
    padded[geometry.pad_top : geometry.pad_top + height, geometry.pad_left : geometry.pad_left + width] = image
    return padded, geometry


def preprocess(
    image: NDArray[np.uint8], preprocessing: Preprocessing
) -> tuple[NDArray[np.float32], LetterboxGeometry]:
    """The image (H, W, 3) uint8 BGR as the network's input: float32 (1, 3, h, w), contiguous; and its geometry.

    The values are those of Ultralytics' predictor, bit for bit: a float32 division by 255 after BGR -> RGB.

    Raises:
        ValueError, MissingExtraError: see `letterbox`.
    """
    padded, geometry = letterbox(image, preprocessing)
    if preprocessing.channel_order == "rgb":
        padded = padded[:, :, ::-1]
    planes = np.ascontiguousarray(padded.transpose(2, 0, 1)[None])  # (h, w, 3) -> (1, 3, h, w)
    return planes.astype(np.float32) / np.float32(1 / preprocessing.scale), geometry


def require_image(image: NDArray[np.uint8]) -> None:
    """Refuse (ValueError) anything but a non-empty BGR image (H, W, 3) uint8."""
    is_array = isinstance(image, np.ndarray)
    if not is_array or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        found = f"{image.dtype} {image.shape}" if is_array else type(image).__name__
        raise ValueError(f"expected a non-empty BGR image as a numpy array (H, W, 3) of uint8, found {found}")
