"""The order and the augmentation of training images as functions of (seed, epoch, image) alone.

So a resumed training, in whichever process and with however many workers, sees the images that it would have seen.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler


class EpochOrder(Sampler[list[tuple[int, int]]]):
    """A batch sampler: lists of (epoch, image index), a new permutation each epoch; the last batch may be smaller.

    `start(epoch, first)` chooses the epoch and its first batch (from 0) before each iteration. With `share` (r, n) each
    list is the r-th (from 0) of n shares of the batch, see `share_of`.
    """

    def __init__(self, images: int, batch: int, seed: int, share: tuple[int, int] = (0, 1)) -> None:
        self.images, self.batch, self.seed, self.share = images, batch, seed, share
        self._epoch, self._first = 1, 0

    def __len__(self) -> int:
        return -(-self.images // self.batch)

    def start(self, epoch: int, first: int) -> None:
        """The next iteration yields the batches of `epoch` from number `first` on."""
        self._epoch, self._first = epoch, first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        generator = torch.Generator().manual_seed(seed_of(self.seed, self._epoch))
        order = torch.randperm(self.images, generator=generator).tolist()
        for number in range(self._first, len(self)):
            chosen = order[number * self.batch : (number + 1) * self.batch]
            first, end = share_of(len(chosen), self.share)
            yield [(self._epoch, index) for index in chosen[first:end] or chosen[:1]]

    def is_idle(self, number: int) -> bool:
        """Whether batch `number` (from 0) has no image for this share, which then shows its first one."""
        first, end = share_of(min(self.batch, self.images - number * self.batch), self.share)
        return first == end


def share_of(images: int, share: tuple[int, int]) -> tuple[int, int]:
    """The first image (from 0) and the end, excluded, of share (r, n): neighbours, and as many as others or one more.

    The shares of a batch, one behind the other, are the batch; of fewer images than shares some are empty.
    """
    number, shares = share
    return images * number // shares, images * (number + 1) // shares


class SeededImages(Dataset[Any]):
    """A data set whose item (epoch, index) is the item `index` of another, its augmentation drawn for that epoch.

    The generators of random, numpy and torch (CPU) are as before afterwards: what the model draws does not depend on
    where, or how far ahead, images are loaded.
    """

    def __init__(self, images: Any, seed: int) -> None:
        self.images, self.seed = images, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: Sequence[int]) -> Any:
        epoch, index = key
        before = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
        seed = seed_of(self.seed, epoch, index)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)
        try:
            return self.images[index]
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])
            torch.default_generator.set_state(before[2])


def seed_of(*numbers: int) -> int:
    """A 63-bit seed of several numbers, well mixed (numpy's SeedSequence)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
