"""Training batches with Ultralytics' data loading and augmentation, in an order fixed by the seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader
from ultralytics.cfg import get_cfg
from ultralytics.data.build import build_dataloader
from ultralytics.data.dataset import YOLODataset
from ultralytics.utils import IterableSimpleNamespace

from edgegd.recipe.schema import TrainSection


def hyperparameters(settings: TrainSection, imgsz: int) -> IterableSimpleNamespace:
    """Ultralytics' configuration with the recipe's values; what the recipe does not name keeps Ultralytics' default."""
    return get_cfg(
        overrides={
            "task": "detect", "mode": "train", "imgsz": imgsz, "epochs": settings.epochs, "batch": settings.batch,
            "workers": settings.workers, "seed": settings.seed, "mosaic": settings.mosaic, "fliplr": settings.fliplr,
            "scale": settings.scale, "translate": settings.translate, "hsv_h": settings.hsv_h,
            "hsv_s": settings.hsv_s, "hsv_v": settings.hsv_v, "erasing": 0.0,
        }
    )  # fmt: skip


class _Dataset(YOLODataset):
    """Ultralytics' data set; the label cache goes to the run folder, not into the user's data set."""

    def __init__(self, *args: Any, cache_folder: Path, **kwargs: Any) -> None:
        self._cache_folder = cache_folder
        super().__init__(*args, **kwargs)

    def cache_labels(self, path: Path = Path("./labels.cache")) -> dict:
        """Scans the labels and stores the result in the cache folder."""
        self._cache_folder.mkdir(parents=True, exist_ok=True)
        return super().cache_labels(self._cache_folder / path.name)


def training_batches(image_list: Path, names: tuple[str, ...], settings: TrainSection, imgsz: int,
                     cache_folder: Path) -> DataLoader:
    """A loader of augmented batches: img uint8 (N, 3, imgsz, imgsz), cls (M, 1), bboxes (M, 4) xywh in 0..1, batch_idx (M,).

    `image_list` is a text file with one image path a line.
    """
    hyp = hyperparameters(settings, imgsz)
    dataset = _Dataset(
        img_path=str(image_list), imgsz=imgsz, batch_size=settings.batch, augment=True, hyp=hyp, rect=False, cache=None,
        stride=32, task="detect", data={"names": dict(enumerate(names)), "nc": len(names), "channels": 3},
        cache_folder=cache_folder,
    )  # fmt: skip
    return build_dataloader(dataset, batch=settings.batch, workers=settings.workers, shuffle=True, device=settings.device)
