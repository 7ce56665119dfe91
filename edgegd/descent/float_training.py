"""Float training by Ultralytics itself, for checkpoints that do not know the data set's classes yet."""

from __future__ import annotations

import shutil
from pathlib import Path

from ultralytics import YOLO
from ultralytics.engine.trainer import BaseTrainer

from edgegd.recipe.schema import FloatTraining, TrainSection


def train_float(weights: str, data_yaml: Path, destination: Path, *, imgsz: int, settings: FloatTraining,
                train: TrainSection, work_folder: Path) -> None:
    """Trains `weights` (a checkpoint, or an architecture .yaml) and copies the best checkpoint to `destination`.

    `train` gives device, workers and seed; `work_folder` holds Ultralytics' own output (results.csv, last.pt).
    """
    model = YOLO(weights, task="detect")
    model.train(
        data=str(data_yaml), imgsz=imgsz, epochs=settings.epochs, batch=settings.batch, optimizer=settings.optimizer,
        lr0=settings.lr0, lrf=settings.lrf, mosaic=settings.mosaic, close_mosaic=settings.close_mosaic, cos_lr=True,
        device=train.device, workers=train.workers, seed=train.seed, deterministic=True, amp=False, plots=False,
        patience=0, pretrained=not weights.endswith((".yaml", ".yml")),
        project=str(work_folder.resolve()), name="ultralytics", exist_ok=True, verbose=False,
    )  # fmt: skip
    trainer = model.trainer
    assert isinstance(trainer, BaseTrainer)
    shutil.copyfile(trainer.best, destination)
