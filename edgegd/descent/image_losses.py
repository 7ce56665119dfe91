"""The loss of every training image in every epoch, recorded while the descent computes it: no image runs once more.

It is the label loss that the image alone has (edgegd.detectors.families.image_losses), of the weights of that step and
of the image as it was augmented then. An image that mosaic mixed with others, and one without labels, has none. At most
MOST_ROWS epochs are kept, so 50,000 images take 26 MB at most, in memory, in a checkpoint, and in the run's file.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import safetensors.torch
import torch

from edgegd.detectors.losses import image_losses
from edgegd.detectors.student import Student

MOST_ROWS = 128


class ImageLossRecord:
    """The rows of one descent: `begin` is called before its first step, `start` before each epoch, `see` in each step.

    `files` are the labelled images in the order of the columns, as a batch's `im_file` names them. `epochs` are those
    that have a row, `losses` a float32 row (files,) of each, NaN where the image was not seen.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self._columns = {file: column for column, file in enumerate(files)}
        self.epochs: list[int] = []
        self.losses: list[torch.Tensor] = []
        self._seen: list[tuple[torch.Tensor, list[int], torch.Tensor]] = []
        self._keeps = False

    def begin(self, student: Student, epochs: int) -> None:
        """Listens to the student's criterion, for so many epochs, until `end`."""
        self._measured = image_losses(student)
        self._every, self._last = -(-epochs // MOST_ROWS), epochs

    def start(self, epoch: int) -> None:
        """The steps that follow are of this epoch; one that a checkpoint was of goes on in its row."""
        self._keeps = epoch % self._every == 0 or epoch == self._last
        if self._keeps and epoch not in self.epochs:
            self.epochs.append(epoch)
            self.losses.append(torch.full((len(self._columns),), torch.nan))

    def see(self, batch: Mapping[str, Any], labelled: dict[str, Any], predictions: Any) -> None:
        """After the label loss of a batch: `labelled` and `predictions` are those that it was computed from."""
        if not self._keeps:
            return
        has_labels = [True] * len(batch["im_file"])
        if batch.get("labelled") is not None:
            has_labels = batch["labelled"].tolist()
        mixed = batch.get("mixed", [False] * len(has_labels))
        columns = [
            -1 if is_mixed else self._columns.get(file, -1)
            for file, is_mixed in itertools.compress(zip(batch["im_file"], mixed, strict=True), has_labels)
        ]
        if max(columns, default=-1) >= 0:  # on a GPU the values are fetched later: nothing waits for them
            self._seen.append((self.losses[-1], columns, self._measured.of(labelled, predictions)))

    def share(self, gather: Callable[[Any], list[Any]]) -> None:
        """After a step of several processes: what each of them saw comes into the records of all."""
        if self._keeps:
            self._seen, own = [], [(columns, losses.tolist()) for _, columns, losses in self._seen]
            for seen in gather(own):
                for columns, losses in seen:
                    _put(self.losses[-1], columns, losses)

    def end(self) -> None:
        """The last step was taken."""
        self._measured.close()

    def tensors(self) -> dict[str, torch.Tensor]:
        """`epochs` int64 (R,) and `losses` float32 (R, files), of the epochs that saw an image: for checkpoints."""
        for row, columns, losses in self._seen:
            _put(row, columns, losses.tolist())
        self._seen.clear()
        kept = [index for index, row in enumerate(self.losses) if not row.isnan().all()]
        rows = torch.stack([self.losses[index] for index in kept]) if kept else torch.zeros(0, len(self._columns))
        return {"epochs": torch.tensor([self.epochs[index] for index in kept], dtype=torch.int64), "losses": rows}

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Goes on with the rows of a checkpoint; one of before there were any has none, and they begin then."""
        self.epochs = tensors["epochs"].tolist() if tensors else []
        self.losses = list(tensors["losses"].clone().unbind()) if tensors else []


def _put(row: torch.Tensor, columns: Sequence[int], losses: Sequence[float]) -> None:
    for column, loss in zip(columns, losses, strict=True):
        if column >= 0:
            row[column] = loss


def image_losses_bytes(record: ImageLossRecord) -> bytes:
    """A safetensors file of the record's tensors."""
    return safetensors.torch.save(record.tensors())
