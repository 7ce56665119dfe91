"""What a descent leaves in writing: a row an epoch, and a line of JSON a step."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgegd.atomic_files import write_atomically
from edgegd.safe_outputs import open_to_append


@dataclass(frozen=True)
class Epoch:
    """One epoch: mean losses, the weights' last learning rate, mAP of the averaged model.

    `oscillation` holds for each integer convolution its weights, how many oscillate and how many are frozen; it is
    empty where they are not tracked.
    """

    epoch: int
    loss: float
    parts: dict[str, float]
    lr: float
    map50_95: float
    oscillation: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Descent:
    """The whole record; `best_epoch` 0 is the model before the first step, whose mAP is `start_map50_95`.

    That model is the calibrated one in QAT, the one with its activations just swapped in an adaptation.
    """

    best_epoch: int
    best_map50_95: float
    last_map50_95: float
    start_map50_95: float
    epochs: tuple[Epoch, ...]


class StepLog:
    """A file of one JSON object a line and step: step (from 1), epoch, loss, its parts, and learning rates by group.

    Numbers are written so that they read back as the same floats.
    """

    def __init__(self, path: Path, keep: int) -> None:
        """Goes on with a file after its first `keep` steps; what it holds of later ones is removed."""
        lines = path.read_bytes().splitlines(keepends=True) if keep and path.exists() else []
        write_atomically(path, b"".join(lines[:keep]))
        self._file = open_to_append(path)

    def write(self, row: dict[str, Any]) -> None:
        """Adds a line, at once."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
