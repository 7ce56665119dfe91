"""Reading images so that a truncated file is an error and not a half-grey picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegd.errors import UnreadableImageError
from edgegd.runtime.contract import Preprocessing
from edgegd.runtime.opencv import require_opencv
from edgegd.runtime.pixels import pixels

IMAGE_SUFFIXES = frozenset({".avif", ".bmp", ".dng", ".heic", ".heif", ".jp2", ".jpeg", ".jpg", ".mpo", ".png", ".tif",
                            ".tiff", ".webp"})
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
        content = path.read_bytes()
    except OSError as error:
        return None, error.strerror or str(error)
    return decode_bytes(content, path.suffix, channels)


def decode_bytes(content: bytes, suffix: str = "", channels: int = 3) -> tuple[NDArray[np.uint8] | None, str]:
    """The image in the content of an image file, or None and what is wrong with it; MissingExtraError without OpenCV.

    `suffix` is that of the file's name (`.tif`), by which Ultralytics reads some kinds differently.
    """
    require_opencv()
    if not content:
        return None, "the file is empty"
    if is_truncated(content):
        return None, "the file is truncated"
    return pixels(content, suffix, channels)


def is_truncated(content: bytes) -> bool:
    """Whether a JPEG lacks its end-of-image marker, or a PNG its end chunk (OpenCV 4 decodes such files silently).

    The marker FF D9 is looked for only behind the start of scan: an EXIF thumbnail before it is a JPEG with an end of
    its own, while inside entropy-coded data a byte FF is always followed by 00 or a restart marker
    (ITU-T T.81, B.1.1.5).
    """
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return b"IEND" not in content[-4096:]
    if not content.startswith(b"\xff\xd8"):
        return False
    position = 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        if content[position + 1] == 0xFF:  # a fill byte before a marker
            position += 1
            continue
        if content[position + 1] == 0xDA:
            return content.find(b"\xff\xd9", position) < 0
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return True
