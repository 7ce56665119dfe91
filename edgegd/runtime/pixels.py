"""The pixels of an image file as Ultralytics reads them, for one channel, three colours, or the bands of a file.

The rules are those of ultralytics/utils/patches.py (imread), as its data sets and its predictor call it:

1. One channel is OpenCV's grayscale, three are its BGR, turned upright by the EXIF orientation, without alpha. Any
   other number are the bands as the file stores them, not turned upright; gray TIFF pages of one size become bands.
2. A TIFF in colours keeps its own order of rows (no EXIF), and its first three bands.
3. AVIF is read by Pillow, and by OpenCV where Pillow cannot. What is called .avif and is something else is refused,
   and so is HEIC, for which Ultralytics would install a package.
4. Of 16 bits the upper eight count.

What Ultralytics would hand to the network in another type or number of channels is refused.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegd.limits import IMAGE_PIXELS
from edgegd.runtime.opencv import PIXELS_VARIABLE, require_opencv

_TIFF = (".tif", ".tiff")
_HEIC = (".heic", ".heif")
TOO_MANY_PIXELS = f"are more than the {IMAGE_PIXELS:,} that an image may have"
_NO_IMAGE = "the file is not an image, or is damaged"


def pixels(content: bytes, suffix: str, channels: int) -> tuple[NDArray[np.uint8] | None, str]:
    """The image (H, W, channels) uint8 in a file's content, three channels in BGR; or None and what is wrong with it.

    `suffix` is the file name's. Raises MissingExtraError without OpenCV.
    """
    cv2 = require_opencv()
    suffix = suffix.lower()
    image = None
    try:
        if suffix in _TIFF and channels != 1:
            image = _tiff(content, channels)
        if suffix == ".avif":
            if content[4:12] not in (b"ftypavif", b"ftypavis"):
                return None, "the file is not an AVIF image, as its name says"
            image = _avif(content, channels)
        if image is None:
            flag = {1: cv2.IMREAD_GRAYSCALE, 3: cv2.IMREAD_COLOR}.get(channels, cv2.IMREAD_UNCHANGED)
            image = cv2.imdecode(np.frombuffer(content, np.uint8), flag)
    except cv2.error as error:
        if PIXELS_VARIABLE.removeprefix("OPENCV_") in str(error):
            return None, f"it has more pixels: they {TOO_MANY_PIXELS}"
        image = None
    if image is not None and image.shape[0] * image.shape[1] > IMAGE_PIXELS:
        return None, f"{image.shape[1]} x {image.shape[0]} pixels {TOO_MANY_PIXELS}"
    if image is None:
        return None, "HEIC is not read here: convert it to JPEG or PNG" if suffix in _HEIC else _NO_IMAGE
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.dtype != np.uint8:
        return None, f"its values are {image.dtype}, not of 8 or 16 bits without a sign"
    image = image[..., None] if image.ndim == 2 else image
    if image.shape[2] != channels:
        found = f"{image.shape[2]} channel{'s' if image.shape[2] > 1 else ''}"
        return None, f"it has {found}, where images of {channels} are expected"
    return np.ascontiguousarray(image), ""


def _tiff(content: bytes, channels: int) -> NDArray[Any] | None:
    """A TIFF in colours, or for other than three channels of equal gray pages; None leaves it to the usual way."""
    cv2 = require_opencv()
    done, frames = cv2.imdecodemulti(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if not done:
        return None
    first: NDArray[Any] = frames[0]
    if first.ndim == 3:
        return first[..., :3] if channels == 3 else first
    if channels != 3 and len(frames) > 1 and all(frame.shape == first.shape for frame in frames):
        return np.stack(frames, axis=2)  # [(H, W)] -> (H, W, pages)
    return None


def _avif(content: bytes, channels: int) -> NDArray[Any] | None:
    """By the plugin itself: Ultralytics replaces `PIL.Image.open` by one that may install packages."""
    try:
        from PIL import AvifImagePlugin, ImageOps

        with ImageOps.exif_transpose(AvifImagePlugin.AvifImageFile(io.BytesIO(content))) as image:
            values = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    except Exception:  # there is no Pillow, or whatever its plugin raises; OpenCV decides then
        return None
    return values if channels == 1 else values[..., ::-1]
