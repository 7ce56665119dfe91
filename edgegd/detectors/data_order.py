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

    `start(epoch, first)` chooses the epoch and its first batch (from 0) before each iteration.
    """

    def __init__(self, images: int, batch: int, seed: int) -> None:
        self.images, self.batch, self.seed = images, batch, seed
        self._epoch, self._first = 1, 0

    def __len__(self) -> int:
        return -(-self.images // self.batch)

    def start(self, epoch: int, first: int) -> None:
        """The next iteration yields the batches of `epoch` from number `first` on."""
        self._epoch, self._first = epoch, first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        generator = torch.Generator().manual_seed(_seed_of(self.seed, self._epoch))
        order = torch.randperm(self.images, generator=generator).tolist()
        for number in range(self._first, len(self)):
            chosen = order[number * self.batch : (number + 1) * self.batch]
            yield [(self._epoch, index) for index in chosen]


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
        seed = _seed_of(self.seed, epoch, index)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)
        try:
            return self.images[index]
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])
            torch.default_generator.set_state(before[2])


def _seed_of(*numbers: int) -> int:
    """A 63-bit seed of several numbers, well mixed (numpy's SeedSequence)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
