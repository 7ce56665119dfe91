"""Training batches with Ultralytics' data set and augmentation, each a function of the seed and its position."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader
from ultralytics.cfg import get_cfg
from ultralytics.data.build import build_yolo_dataset
from ultralytics.utils import IterableSimpleNamespace

from edgegd.descent.data_order import EpochOrder, SeededImages
from edgegd.descent.shared_memory import require_shared_memory
from edgegd.recipe.schema import TrainSection


class EpochBatches(Protocol):
    """Batches of epochs: `len` of them in each; `epoch(number, first)` yields those of an epoch (from 1) from batch
    `first` (from 0) on, the same ones whenever it is called.

    A batch has img uint8 (N, 3, H, W), cls (M, 1), bboxes (M, 4) as x y w h in 0..1, and batch_idx (M,).
    """

    def __len__(self) -> int: ...
    def epoch(self, number: int, first: int = 0) -> Iterator[dict[str, Any]]: ...


def hyperparameters(settings: TrainSection, imgsz: int) -> IterableSimpleNamespace:
    """Ultralytics' configuration with the recipe's values; what the recipe does not name keeps Ultralytics' default."""
    return get_cfg(  # type: ignore[return-value]
        overrides={
            "task": "detect", "mode": "train", "imgsz": imgsz, "epochs": settings.epochs, "batch": settings.batch,
            "workers": settings.workers, "seed": settings.seed, "mosaic": settings.mosaic, "fliplr": settings.fliplr,
            "scale": settings.scale, "translate": settings.translate, "hsv_h": settings.hsv_h,
            "hsv_s": settings.hsv_s, "hsv_v": settings.hsv_v, "erasing": 0.0,
        }
    )  # fmt: skip


class TrainingBatches:
    """Augmented batches of a data set (see EpochBatches); `train.seed` and the position decide what is in them.

    `loaded` are the labels of the images that they are made of, as Ultralytics' loader read them.

    `data_yaml` is the view of the data set that edgegd.data.view.ultralytics_yaml made, beside its `train.txt`.
    """

    def __init__(self, data_yaml: Path, names: tuple[str, ...], settings: TrainSection, imgsz: int) -> None:
        require_shared_memory(settings.workers, settings.batch, imgsz)
        hyp = hyperparameters(settings, imgsz)
        dataset: Any = build_yolo_dataset(
            hyp, str(data_yaml.with_name("train.txt")), settings.batch,
            {"names": dict(enumerate(names)), "nc": len(names), "channels": 3}, mode="train",
        )  # fmt: skip
        self.loaded: list[dict[str, Any]] = dataset.labels
        # As if all images were in memory: none is remembered between items, and mosaics draw from all of them instead
        # of from those that this process happened to load last.
        dataset.cache = "ram"
        dataset.transforms = dataset.build_transforms(hyp)
        self._order = EpochOrder(len(dataset), min(settings.batch, len(dataset)), settings.seed)
        workers = min(settings.workers, os.cpu_count() or 1, len(self._order))
        self._loader = DataLoader(
            SeededImages(dataset, settings.seed), batch_sampler=self._order, num_workers=workers,
            persistent_workers=workers > 0, collate_fn=dataset.collate_fn,
            pin_memory=torch.device(settings.device).type == "cuda",
            generator=torch.Generator(),  # torch's own generator is the model's
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self._order)

    def epoch(self, number: int, first: int = 0) -> Iterator[dict[str, Any]]:
        """The batches of epoch `number` (from 1), from batch `first` (from 0) on."""
        self._order.start(number, first)
        yield from self._loader
