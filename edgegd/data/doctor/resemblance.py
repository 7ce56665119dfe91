"""Images that resemble each other, among many: by the Hamming distance of their hashes, then by their small pictures.

All pairs of hashes are compared, tile by tile: as vectors of plus and minus one, two hashes of 64 bits at distance d
have the inner product 64 - 2d, which a matrix product gives for millions of pairs at once, exactly in float32.
Candidates are confirmed by the correlation of their small pictures. Two images that are already in one group are not
compared again, so a film of one scene costs as many comparisons as it has frames and not as it has pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgegd.data.doctor.appearance import contrast_of

MOST_BITS = 8
"""Of 64. Unrelated images of BCCD, COCO and streets differ in 12 or more; a JPEG of quality 40, half the size, noise of
8 codes, gamma 0.7 or a cut of 1 % at every side change 6 at the most (benchmarks/data_doctor.py)."""
LEAST_CORRELATION = 0.95
"""Of the small pictures. Unrelated images of the same three sets reach 0.88; the changes above, but for some cuts, keep
0.98 (docs/data.md)."""
LEAST_CONTRAST = 2.0
"""Standard deviation, in codes, below which a small picture shows nothing that could be compared."""
_TILE = 2048
_BATCH = 4096
MOST_COMPARED = 2_000_000
"""Pairs of small pictures, some ten seconds: only a set made for it has so many equal hashes of unlike images."""


@dataclass(frozen=True)
class Resemblance:
    """The group of each picture, (N,) int: pictures that resemble each other, step by step, have one number.

    `is_complete` is False where MOST_COMPARED ended the search: there may be more.
    """

    groups: NDArray[np.int64]
    is_complete: bool


def resembling(
    pictures: NDArray[np.uint8], bits: NDArray[np.bool_], progress: Callable[[int, int], None] | None = None
) -> Resemblance:
    """The groups of small pictures (N, SIDE, SIDE) with hashes (N, 64); those without contrast are alone.

    `progress(done, total)` counts rows of tiles.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(pictures)
    groups = np.arange(count)
    signs = np.where(bits, np.float32(1), np.float32(-1))
    signs[contrast_of(pictures) < LEAST_CONTRAST] = 0  # an inner product of 0 is a distance of 32
    compared, least = 0, signs.shape[1] - 2 * MOST_BITS
    starts = range(0, count, _TILE)
    for done, top in enumerate(starts, start=1):
        for left in range(top, count, _TILE):
            first, second = np.nonzero(signs[top : top + _TILE] @ signs[left : left + _TILE].T >= least)
            first, second = first + top, second + left
            first, second = _apart(first, second, first < second, groups)
            while len(first):
                if compared >= MOST_COMPARED:
                    return Resemblance(groups, is_complete=False)
                compared += min(len(first), _BATCH)
                close = correlation(pictures[first[:_BATCH]], pictures[second[:_BATCH]]) >= LEAST_CORRELATION
                ends = groups[first[:_BATCH][close]], groups[second[:_BATCH][close]]
                if len(ends[0]):
                    links = coo_array((np.ones(len(ends[0])), ends), shape=(count, count))
                    groups = connected_components(links, directed=False)[1][groups]
                rest = first[_BATCH:], second[_BATCH:]
                first, second = _apart(*rest, np.ones(len(rest[0]), np.bool_), groups)
        if progress is not None:
            progress(done, len(starts))
    return Resemblance(groups, is_complete=True)


def correlation(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pearson's correlation of pairs of small pictures: (N, SIDE, SIDE) twice -> (N,); 0 where one is plain."""
    sides = []
    for pictures in (first, second):
        values = pictures.reshape(len(pictures), -1).astype(np.float32)
        values -= values.mean(axis=1, keepdims=True)
        sides.append(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6))
    return np.einsum("ij,ij->i", sides[0], sides[1])


def _apart(
    first: NDArray[np.int64], second: NDArray[np.int64], wanted: NDArray[np.bool_], groups: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The wanted pairs whose ends are not in one group yet."""
    wanted = wanted & (groups[first] != groups[second])
    return first[wanted], second[wanted]
