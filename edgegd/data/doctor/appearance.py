"""What an image looks like, in a kilobyte: a small gray picture, and 64 bits that similar pictures share.

The bits are those of the widely used DCT hash: of the 32 x 32 picture's cosine transform (DCT-II) the 8 x 8 lowest
frequencies, each above the median of them or not. Half of the bits are set in every hash, so that pictures with a large
plain area do not all fall together, as they do where neighbouring pixels are compared.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from edgegd.runtime.opencv import require_opencv

SIDE = 32
"""Pixels of the small picture's side."""
_LOW = 8
_BLOCK = 4096
_COLOURLESS = 2.0
"""Codes by which the channels of a small picture may differ and count as gray: JPEG's own noise."""


def small_picture(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], bool]:
    """An image (H, W, C) as SIDE x SIDE gray values, and whether it has no colours; for C = 3 in BGR."""
    cv2 = require_opencv()
    if pixels.shape[2] not in (1, 3):
        pixels = pixels.mean(axis=2, keepdims=True).astype(np.uint8)
    small = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA).reshape(SIDE, SIDE, -1)
    if small.shape[2] == 1:
        return small[..., 0], True
    spread = small.max(axis=2).astype(np.int16) - small.min(axis=2)
    return cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), bool(spread.max() <= _COLOURLESS)


def contrast_of(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The standard deviation of each small picture's values: (N, SIDE, SIDE) -> (N,)."""
    spread = np.zeros(len(pictures), np.float32)
    for start in range(0, len(pictures), _BLOCK):
        block = pictures[start : start + _BLOCK].astype(np.float32)
        spread[start : start + _BLOCK] = block.std(axis=(1, 2))
    return spread


def digest_of_pixels(pixels: NDArray[np.uint8]) -> bytes:
    """16 bytes that are equal for equal pixels of equal shape, whatever file they come from."""
    return hashlib.blake2b(pixels.data, digest_size=16, key=repr(pixels.shape).encode()).digest()


def hashes(pictures: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The 64 bits of each small picture: (N, SIDE, SIDE) -> (N, 64)."""
    place = np.arange(SIDE)
    cosines = np.cos(np.pi / SIDE * (place + 0.5) * np.arange(_LOW)[:, None]).astype(np.float32)  # (8, SIDE), DCT-II
    bits = np.zeros((len(pictures), _LOW * _LOW), np.bool_)
    for start in range(0, len(pictures), _BLOCK):
        block = pictures[start : start + _BLOCK].astype(np.float32)
        low = (cosines @ block @ cosines.T).reshape(-1, _LOW * _LOW)  # (n, 8, 8) -> (n, 64)
        bits[start : start + _BLOCK] = low > np.median(low, axis=1, keepdims=True)
    return bits
