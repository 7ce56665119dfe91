"""What a descent leaves in writing: a row an epoch, and a line of JSON a step."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgegd.atomic_files import write_atomically
from edgegd.safe_outputs import open_to_append

CHECKPOINT_KEY = "edgegd.descent"
"""Of a checkpoint's metadata: its value is JSON, whose `record` has the `epochs` so far."""


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
    unrecorded: str = ""
    """Why the lines of the last steps are missing, where they are."""


class StepLog:
    """A file of one JSON object a line and step (docs/telemetry.md).

    Numbers are written so that they read back as the same floats. Where a line cannot be written (a full disk), the
    file keeps its whole lines, `problem` says since when and why, and nothing is written any more.
    """

    def __init__(self, path: Path, keep: int) -> None:
        """Goes on with a file after its first `keep` steps; what it holds of later ones is removed."""
        lines = path.read_bytes().splitlines(keepends=True) if keep and path.exists() else []
        write_atomically(path, b"".join(lines[:keep]))
        self._file = open_to_append(path)
        self._name, self._size = path.name, path.stat().st_size
        self.problem = ""

    def write(self, row: dict[str, Any]) -> None:
        """Adds a line, at once."""
        if self.problem:
            return
        line = rest = f"{json.dumps(row)}\n".encode()
        try:
            while rest:
                rest = rest[os.write(self._file.fileno(), rest) :]
            self._size += len(line)
        except OSError as error:
            self.problem = f"{self._name} ends before step {row['step']}: {error.strerror or error}"
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), self._size)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
