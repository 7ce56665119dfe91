"""The size of a network's input: (height, width) in pixels, wherever code speaks of one.

A recipe's `model.imgsz` is one number, the side of a square, or [height, width]; `network_size` reads both.
"""

from __future__ import annotations

from collections.abc import Sequence

NetworkSize = tuple[int, int]
"""(height, width) in pixels."""


def network_size(imgsz: int | Sequence[int]) -> NetworkSize:
    """The size that `imgsz` means: a number is the side of a square, a pair is (height, width)."""
    if isinstance(imgsz, int):
        return imgsz, imgsz
    height, width = imgsz
    return height, width


def size_in_words(size: int | Sequence[int]) -> str:
    """`640` for a square, `384x640` (height x width) for a rectangle."""
    height, width = network_size(size)
    return str(height) if height == width else f"{height}x{width}"
