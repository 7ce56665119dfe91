"""Reading images so that a truncated file is an error and not a half-grey picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegd.bounded_read import read_bounded
from edgegd.errors import UnreadableImageError
from edgegd.limits import IMAGE_BYTES, IMAGE_PIXELS
from edgegd.runtime.image_header import declared_size, is_truncated
from edgegd.runtime.opencv import PIXELS_VARIABLE, require_opencv

IMAGE_SUFFIXES = frozenset({".avif", ".bmp", ".dng", ".heic", ".heif", ".jp2", ".jpeg", ".jpg", ".mpo", ".png", ".tif",
                            ".tiff", ".webp"})
"""The files of an image folder that count as images: Ultralytics' list (ultralytics/data/utils.py, IMG_FORMATS)."""
_LIMIT = f"the {IMAGE_PIXELS:,} that an image may have"


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """The image as (H, W, 3) uint8 BGR, turned upright by its EXIF orientation; raises UnreadableImageError."""
    require_opencv()  # before the file is looked at: without OpenCV no file can be read
    image, problem = decode(Path(path))
    if image is None:
        raise UnreadableImageError(f"{path}: {problem}", expected="a complete image file", mend="replace the file")
    return image


def decode(path: Path) -> tuple[NDArray[np.uint8] | None, str]:
    """The image of a file as read_image gives it, or None and what is wrong with the file."""
    try:
        if path.exists() and not path.is_file():
            return None, "it is no file but a folder, a pipe or a device"
        content = read_bounded(path, IMAGE_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        return None, getattr(error, "strerror", None) or str(error)
    if content is None:
        return None, f"the file has more than {IMAGE_BYTES >> 20} MiB"
    return decode_bytes(content)


def decode_bytes(content: bytes) -> tuple[NDArray[np.uint8] | None, str]:
    """The image in an image file's content, or None and what is wrong with it; MissingExtraError without OpenCV."""
    cv2 = require_opencv()
    if not content:
        return None, "the file is empty"
    width, height = declared_size(content) or (0, 0)
    if width * height > IMAGE_PIXELS:
        return None, f"{width} x {height} pixels are more than {_LIMIT}"
    if is_truncated(content):
        return None, "the file is truncated"
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        if PIXELS_VARIABLE.removeprefix("OPENCV_") in str(error):
            return None, f"it has more pixels than {_LIMIT}"
        image = None
    if image is not None and image.shape[0] * image.shape[1] > IMAGE_PIXELS:
        return None, f"{image.shape[1]} x {image.shape[0]} pixels are more than {_LIMIT}"
    if image is None:
        return None, "the file is not an image, or is damaged"
    return np.asarray(image, np.uint8), ""
