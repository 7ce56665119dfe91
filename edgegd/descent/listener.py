"""Who runs a descent, as the descent sees it: it is asked for mAP, keeps the best model, and hears how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edgegd.descent.checkpoint import Checkpoint, CheckpointFile
from edgegd.descent.image_losses import ImageLossRecord
from edgegd.descent.path import PathRecord
from edgegd.descent.record import Epoch


class Listener(Protocol):
    """What a descent asks and says, in the order in which it does so."""

    def evaluate(self) -> float:
        """The mAP50-95 of the student as it is now."""

    def keep(self, epoch: int) -> None:
        """The student as it is now is the best so far: store it. Epoch 0 is the model before the first step."""

    def on_start(self, map50_95: float) -> None:
        """The model before the first step was evaluated; not where a descent goes on."""

    def on_step(self, step: int, steps: int, text: str) -> None:
        """A step was taken, `step` (from 1) of `steps`."""

    def on_row(self, row: dict[str, Any]) -> None:
        """A line of the log, also that of a step that was not taken because its loss is not finite; only to be read."""

    def on_epoch(self, row: Epoch) -> None:
        """An epoch was finished and evaluated."""


@dataclass(frozen=True)
class Functions:
    """A Listener made of functions; it does nothing at the start and after epochs."""

    evaluate: Callable[[], float]
    keep: Callable[[int], Any] = lambda epoch: None
    on_step: Callable[[int, int, str], Any] = lambda step, steps, text: None
    on_row: Callable[[dict[str, Any]], Any] = lambda row: None

    def on_start(self, map50_95: float) -> None:
        """Nothing."""

    def on_epoch(self, row: Epoch) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Storage:
    """What a descent leaves on the disk: `file` takes checkpoints, `resume` is one to go on from, `log` a file for
    a line per step, `path` takes a sample of its weights on their way, `images` the losses of the training images."""

    file: CheckpointFile | None = None
    resume: Checkpoint | None = None
    log: Path | None = None
    path: PathRecord | None = None
    images: ImageLossRecord | None = None
