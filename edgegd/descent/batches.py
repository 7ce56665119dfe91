"""Training batches with Ultralytics' data loading and augmentation, in an order fixed by torch's seed."""

from __future__ import annotations

from pathlib import Path

from torch.utils.data import DataLoader
from ultralytics.cfg import get_cfg
from ultralytics.data.build import build_dataloader, build_yolo_dataset
from ultralytics.utils import IterableSimpleNamespace

from edgegd.recipe.schema import TrainSection


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


def training_batches(data_yaml: Path, names: tuple[str, ...], settings: TrainSection, imgsz: int) -> DataLoader:
    """A loader of augmented batches.

    A batch has img uint8 (N, 3, imgsz, imgsz), cls (M, 1), bboxes (M, 4) as x y w h in 0..1, and batch_idx (M,). The
    order follows torch's seed at the time of the call, augmentation the seeds of torch, numpy and random.
    `data_yaml` is the view of the data set that edgegd.data.view.ultralytics_yaml made, beside its `train.txt`.
    """
    dataset = build_yolo_dataset(
        hyperparameters(settings, imgsz), str(data_yaml.with_name("train.txt")), settings.batch,
        {"names": dict(enumerate(names)), "nc": len(names), "channels": 3}, mode="train",
    )  # fmt: skip
    return build_dataloader(
        dataset, batch=settings.batch, workers=settings.workers, shuffle=True, device=settings.device
    )
