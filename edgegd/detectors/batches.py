"""Training batches with Ultralytics' data set and augmentation, each a function of the seed and its position."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader
from ultralytics.cfg import get_cfg
from ultralytics.utils import IterableSimpleNamespace

from edgegd.data.view import UNLABELLED
from edgegd.detectors.data_order import EpochOrder, SeededImages
from edgegd.detectors.shared_memory import require_shared_memory
from edgegd.detectors.sized_images import SizedImages
from edgegd.network_size import NetworkSize, network_size
from edgegd.recipe.training import TrainSection


class EpochBatches(Protocol):
    """Batches of epochs: `len` of them in each; `epoch(number, first)` yields those of an epoch (from 1) from batch
    `first` (from 0) on, the same ones whenever it is called.

    A batch has img uint8 (N, C, H, W), cls (M, 1), bboxes (M, 4) as x y w h in 0..1, and batch_idx (M,). Where some
    images have no labels, `labelled` (N,) says which have; without it, all have. `im_file` names each image's file, and
    `mixed` says of each whether a mosaic made it of several; made-up batches do without both. With `idle` its image is
    another share's and counts for nothing (TrainingBatches, `share`).
    """

    def __len__(self) -> int: ...
    def epoch(self, number: int, first: int = 0) -> Iterator[dict[str, Any]]: ...


def hyperparameters(settings: TrainSection, imgsz: int | NetworkSize) -> IterableSimpleNamespace:
    """Ultralytics' configuration with the recipe's values; what the recipe does not name keeps Ultralytics' default.

    Its `imgsz` is a square's side: of (height, width), the longer one.
    """
    return get_cfg(  # type: ignore[return-value]
        overrides={
            "task": "detect",
            "mode": "train",
            "imgsz": max(network_size(imgsz)),
            "epochs": settings.epochs,
            "batch": settings.batch,
            "workers": settings.workers,
            "seed": settings.seed,
            "mosaic": settings.mosaic,
            "fliplr": settings.fliplr,
            "scale": settings.scale,
            "translate": settings.translate,
            "hsv_h": settings.hsv_h,
            "hsv_s": settings.hsv_s,
            "hsv_v": settings.hsv_v,
            "erasing": 0.0,
        }
    )


class TrainingBatches:
    """Augmented batches of a data set (see EpochBatches); `train.seed` and the position decide what is in them.

    `loaded` are the labels of the images that they are made of, as Ultralytics' loader read them; `files` the labelled
    images as a batch's `im_file` names them, in the data set's order.

    `data_yaml` is the view of the data set that edgegd.data.view.ultralytics_yaml made, beside its `train.txt`; with
    `unlabelled` the images of its list of unlabelled ones are among them, if it has one.
    `imgsz` is the (height, width) of every image of a batch, or the side of a square; `channels` the data set's.
    `share` (r, n) is the share of each batch that is loaded here (edgegd.detectors.data_order.share_of): its images are
    the ones that they are without it. Where a batch has fewer images than there are shares, some are `idle`.
    """

    def __init__(
        self,
        data_yaml: Path,
        names: tuple[str, ...],
        settings: TrainSection,
        imgsz: int | NetworkSize,
        channels: int = 3,
        *,
        unlabelled: bool = False,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        require_shared_memory(settings.workers, settings.batch, imgsz)
        hyp = hyperparameters(settings, imgsz)
        labelled, more = data_yaml.with_name("train.txt"), data_yaml.with_name(UNLABELLED)
        self.files = labelled.read_text(encoding="utf-8").splitlines()
        lists = [str(labelled)]
        self._unlabelled: frozenset[str] = frozenset()
        if unlabelled and more.exists():
            lists.append(str(more))
            self._unlabelled = frozenset(more.read_text(encoding="utf-8").splitlines())
        dataset = SizedImages(lists, dict(enumerate(names)), channels, network_size(imgsz), hyp)
        self.loaded: list[dict[str, Any]] = dataset.labels
        self._order = EpochOrder(len(dataset), min(settings.batch, len(dataset)), settings.seed, share)
        workers = min(settings.workers, os.cpu_count() or 1, len(self._order))
        self._loader = DataLoader(
            SeededImages(dataset, settings.seed),
            batch_sampler=self._order,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=dataset.collate_fn,
            pin_memory=torch.device(settings.device).type == "cuda",
            generator=torch.Generator(),  # torch's own generator is the model's
        )

    def __len__(self) -> int:
        return len(self._order)

    def epoch(self, number: int, first: int = 0) -> Iterator[dict[str, Any]]:
        """The batches of epoch `number` (from 1), from batch `first` (from 0) on."""
        self._order.start(number, first)
        for number, batch in enumerate(self._loader, first):
            if self._order.is_idle(number):
                batch["idle"] = True
            if self._unlabelled:
                batch["labelled"] = torch.tensor([file not in self._unlabelled for file in batch["im_file"]])
            yield batch
