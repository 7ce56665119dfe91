"""Images as small JPEG data URIs that together stay below a bound."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegd.errors import UnreadableImageError
from edgegd.runtime.draw import drawable
from edgegd.runtime.images import read_image
from edgegd.runtime.opencv import require_opencv

MOST_BYTES = 18_000_000
"""Of all thumbnails of a page, as base64: with boxes and texts a page of 1,000 images stays below 25 MB."""
_SIDES = (480, 360, 280, 220, 160, 112, 80, 56, 40)
"""Longer sides in pixels, of which the largest is taken that fits."""
_QUALITY = 72
_SAMPLE = 24  # images from which the side is chosen
_RESERVE = 0.85  # of the bound, which that sample may fill: others may be larger


def thumbnails(
    images: Sequence[Path], channels: int, progress: Callable[[int], None], most_bytes: int = MOST_BYTES
) -> list[str]:
    """A data URI for each image, empty for one that is not there or cannot be read; all are of one size."""
    side = _side(images[:: max(1, len(images) // _SAMPLE)][:_SAMPLE], channels, len(images), most_bytes)
    found, left = [], most_bytes
    for done, image in enumerate(images, start=1):
        uri = _encoded(_read(image, channels), side)
        found.append(uri if len(uri) <= left else "")
        left -= len(found[-1])
        progress(done)
    return found


def _side(sample: Sequence[Path], channels: int, count: int, most_bytes: int) -> int:
    pictures = [picture for image in sample if (picture := _read(image, channels)) is not None]
    for side in _SIDES:
        sizes = [len(_encoded(picture, side)) for picture in pictures]
        if not sizes or np.mean(sizes) * count <= _RESERVE * most_bytes:
            return side
    return _SIDES[-1]


def _read(image: Path, channels: int) -> NDArray[np.uint8] | None:
    try:
        return drawable(read_image(image, channels))
    except UnreadableImageError:
        return None


def _encoded(picture: NDArray[np.uint8] | None, side: int) -> str:
    if picture is None:
        return ""
    cv2 = require_opencv()
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    done, content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(content.tobytes()).decode()}" if done else ""
