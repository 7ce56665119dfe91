"""Letterboxing: resize with the aspect ratio kept, fill the border, and map boxes back.

Pixel for pixel ultralytics.data.augment.LetterBox(new_shape, auto=False, scaleup=True, center=True), and box for box
ultralytics.utils.ops.scale_boxes; the tests compare both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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


def letterbox(image: NDArray[np.uint8], preprocessing: Preprocessing) -> tuple[NDArray[np.uint8], LetterboxGeometry]:
    """The image (H, W, C) uint8 resized and padded to preprocessing.imgsz, with the geometry to map boxes back.

    C is `preprocessing.image_channels`; three are in BGR.

    Raises:
        ValueError: the image is not a non-empty (H, W, C) uint8 array.
        MissingExtraError: OpenCV is not installed.
    """
    channels = preprocessing.image_channels
    padded = np.empty((*preprocessing.imgsz, channels), dtype=np.uint8)
    geometry = LetterboxGeometry.fit(image_size(image, channels), preprocessing.imgsz)
    padded[:] = preprocessing.letterbox_color
    write_resized(image, geometry, padded)
    return padded, geometry


def write_resized(image: NDArray[np.uint8], geometry: LetterboxGeometry, canvas: NDArray[np.uint8]) -> None:
    """Writes the image (H, W, C) uint8 to its place in `canvas` (h, w, C) uint8; the border stays as it is.

    OpenCV writes straight into the canvas. A canvas of four channels for an image of three takes a second pass over the
    resized image, which becomes 255 there: for shrinking it is faster than resizing four channels.
    """
    cv2 = require_opencv()
    height, width = geometry.resized
    place = canvas[geometry.pad_top : geometry.pad_top + height, geometry.pad_left : geometry.pad_left + width]
    is_resized, is_wider = geometry.resized != geometry.original, canvas.shape[2] > image.shape[2]
    if canvas.shape[2] == 1:
        image, place = image[:, :, 0], place[:, :, 0]  # OpenCV drops an axis of one channel
    if is_resized:
        image = cv2.resize(image, (width, height), dst=None if is_wider else place, interpolation=cv2.INTER_LINEAR)
    if is_wider:
        cv2.cvtColor(image, cv2.COLOR_BGR2BGRA, dst=place)
    elif not is_resized:
        place[:] = image


def preprocess(image: NDArray[np.uint8], preprocessing: Preprocessing) -> tuple[NDArray[np.float32], LetterboxGeometry]:
    """The image (H, W, C) uint8 as a portable file's input: float32 (1, C, h, w), contiguous; and its geometry.

    The values are those of Ultralytics' predictor, bit for bit: a float32 division by 255, three channels after
    BGR -> RGB.

    Raises:
        ValueError: see `letterbox`; or `preprocessing` is an edge file's, which takes no floats.
        MissingExtraError: OpenCV is not installed.
    """
    if preprocessing.takes_pixels:
        raise ValueError("an edge file's input is uint8 pixels: use network_input or PixelInput")
    padded, geometry = letterbox(image, preprocessing)
    if preprocessing.channel_order == "rgb":
        padded = padded[:, :, ::-1]
    planes = np.ascontiguousarray(padded.transpose(2, 0, 1)[None])  # (h, w, C) -> (1, C, h, w)
    return np.divide(planes, np.float32(1 / preprocessing.scale), dtype=np.float32), geometry


def network_input(image: NDArray[np.uint8], preprocessing: Preprocessing) -> tuple[NDArray[Any], LetterboxGeometry]:
    """The image (H, W, C) uint8 as the input of either kind of file, an array of its own; and its geometry.

    Raises:
        ValueError, MissingExtraError: see `letterbox`.
    """
    if not preprocessing.takes_pixels:
        return preprocess(image, preprocessing)
    pixels = PixelInput(preprocessing)
    return pixels.array, pixels.fill(image)


class PixelInput:
    """An edge file's input, one buffer for all images: `array`, uint8 (1, h, w, channels), colours in BGR.

    The border is written only where the geometry differs from the last image's. A fourth channel beside three colours
    is 255 everywhere.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._preprocessing = preprocessing
        self._geometry: LetterboxGeometry | None = None
        self.array = np.full(preprocessing.input_shape, 255, np.uint8)

    def fill(self, image: NDArray[np.uint8]) -> LetterboxGeometry:
        """Letterboxes the image (H, W, C) uint8 into `array` without a copy in float; errors as `letterbox`."""
        channels = self._preprocessing.image_channels
        geometry = LetterboxGeometry.fit(image_size(image, channels), self._preprocessing.imgsz)
        if geometry != self._geometry:
            self.array[0, :, :, :channels] = self._preprocessing.letterbox_color
            self._geometry = geometry
        write_resized(image, geometry, self.array[0])
        return geometry


def image_size(image: NDArray[np.uint8], channels: int = 3) -> tuple[int, int]:
    """(height, width) in pixels of an image (H, W, channels); errors as `require_image`."""
    require_image(image, channels)
    return image.shape[0], image.shape[1]


def require_image(image: NDArray[np.uint8], channels: int = 3) -> None:
    """Refuse (ValueError) anything but a non-empty image (H, W, channels) uint8, BGR where there are three."""
    is_array = isinstance(image, np.ndarray)
    if not is_array or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != channels or not image.size:
        found = f"{image.dtype} {image.shape}" if is_array else type(image).__name__
        kind = {1: "grayscale image", 3: "BGR image"}.get(channels, "image")
        raise ValueError(f"expected a non-empty {kind} as a numpy array (H, W, {channels}) of uint8, found {found}")
