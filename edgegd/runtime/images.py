"""Reading images so that a truncated file is an error and not a half-grey picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegd.bounded_read import read_bounded
from edgegd.errors import UnreadableImageError
from edgegd.limits import IMAGE_BYTES, IMAGE_PIXELS
from edgegd.runtime.contract import Preprocessing
from edgegd.runtime.image_header import declared_size, is_truncated
from edgegd.runtime.opencv import require_opencv
from edgegd.runtime.pixels import TOO_MANY_PIXELS, pixels

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".dng", ".heic", ".heif", ".jp2", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"}
)
"""The files of an image folder that count as images: Ultralytics' list (ultralytics/data/utils.py, IMG_FORMATS)."""


def read_image(path: str | Path, channels: int = 3) -> NDArray[np.uint8]:
    """The image as (H, W, channels) uint8, as Ultralytics reads it (see `pixels`); raises UnreadableImageError."""
    require_opencv()  # before the file is looked at: without OpenCV no file can be read
    image, problem = decode(Path(path), channels)
    if image is None:
        expected = "a complete image file" + ("" if channels == 3 else f" of {channels} channel{'s' * (channels > 1)}")
        raise UnreadableImageError(f"{path}: {problem}", expected=expected, mend="replace the file")
    return image


def read_for(path: str | Path, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """The image as a model with this preprocessing takes it; raises UnreadableImageError."""
    return read_image(path, preprocessing.image_channels)


def decode(path: Path, channels: int = 3) -> tuple[NDArray[np.uint8] | None, str]:
    """The image of a file as read_image gives it, or None and what is wrong with the file."""
    try:
        if path.exists() and not path.is_file():
            return None, "it is no file but a folder, a pipe or a device"
        content = read_bounded(path, IMAGE_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        return None, getattr(error, "strerror", None) or str(error)
    if content is None:
        return None, f"the file has more than {IMAGE_BYTES >> 20} MiB"
    return decode_bytes(content, path.suffix, channels)


def decode_bytes(content: bytes, suffix: str = "", channels: int = 3) -> tuple[NDArray[np.uint8] | None, str]:
    """The image in the content of an image file, or None and what is wrong with it; MissingExtraError without OpenCV.

    `suffix` is that of the file's name (`.tif`), by which Ultralytics reads some kinds differently.
    """
    require_opencv()
    if not content:
        return None, "the file is empty"
    width, height = declared_size(content) or (0, 0)
    if width * height > IMAGE_PIXELS:
        return None, f"{width} x {height} pixels {TOO_MANY_PIXELS}"
    if is_truncated(content):
        return None, "the file is truncated"
    return pixels(content, suffix, channels)
