"""The states of torch's, numpy's and Python's random generators as tensors, to be stored and restored."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

Tensors = dict[str, torch.Tensor]


def capture_random_state() -> tuple[Tensors, dict[str, Any]]:
    """All states as tensors by name, and the few numbers beside them as plain data."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    tensors = {
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "python": torch.tensor(words, dtype=torch.int64),
    }
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    numbers = {"python": [version, gauss], "numpy": [kind, int(position), int(has_gauss), float(cached)]}
    return tensors, numbers


def restore_random_state(tensors: Tensors, numbers: dict[str, Any]) -> None:
    """Sets all generators as `capture_random_state` found them; CUDA's only where there was and is one."""
    version, gauss = numbers["python"]
    random.setstate((version, tuple(tensors["python"].tolist()), gauss))
    kind, position, has_gauss, cached = numbers["numpy"]
    np.random.set_state((kind, tensors["numpy"].numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(tensors["torch"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])


def seed_everything(seed: int) -> None:
    """Seeds torch, numpy and random."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
