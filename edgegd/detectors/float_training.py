"""Float training by Ultralytics itself, for checkpoints that do not know the data set's classes yet."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from ultralytics import YOLO
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.nn.tasks import DetectionModel, torch_safe_load

from edgegd.atomic_files import write_atomically
from edgegd.data.ultralytics_as_given import as_given
from edgegd.detectors.architecture import is_architecture, read_architecture
from edgegd.recipe.schema import FloatTraining
from edgegd.recipe.training import TrainSection

OnData = Callable[[str, list[dict[str, Any]]], None]
"""Called as on_data("train" or "val", the labels of the loader's data set)."""


def train_float(
    weights: str,
    data_yaml: Path,
    destination: Path,
    *,
    imgsz: int,
    settings: FloatTraining,
    train: TrainSection,
    work_folder: Path,
    progress: Callable[[int, int, str], None],
    note: Callable[[str], None],
    on_data: OnData = lambda split, loaded: None,
) -> None:
    """Trains `weights` (a checkpoint, or an architecture .yaml) and copies the best checkpoint to `destination`.

    `train` gives device, workers and seed; `work_folder` holds Ultralytics' own output (results.csv, last.pt).
    `progress(steps done, steps, text)` is called after each batch, `note(line)` after each epoch;
    `on_data(split, labels)` before the first step with what Ultralytics' loaders will yield. Ultralytics opens the
    files as they are given, and reports to nobody. Raises the errors of read_architecture.
    """
    from_architecture = is_architecture(weights)
    source = _described(weights, work_folder) if from_architecture else Path(weights)
    with as_given():
        model = YOLO(source.absolute(), task="detect")
        model.add_callback("on_pretrain_routine_end", lambda trainer: _tell_data(trainer, on_data))
        _show_epochs(model, progress, note)
        model.train(
            data=str(data_yaml),
            imgsz=imgsz,
            epochs=settings.epochs,
            batch=settings.batch,
            optimizer=settings.optimizer,
            lr0=settings.lr0,
            lrf=settings.lrf,
            mosaic=settings.mosaic,
            close_mosaic=settings.close_mosaic,
            cos_lr=True,
            device=train.device,
            workers=train.workers,
            seed=train.seed,
            deterministic=True,
            amp=False,
            plots=False,
            patience=0,
            pretrained=not from_architecture,
            project=str(work_folder.resolve()),
            name="ultralytics",
            exist_ok=True,
            verbose=False,
        )
    trainer = model.trainer
    assert isinstance(trainer, BaseTrainer)
    store_checkpoint(trainer.best, destination)


def _tell_data(trainer: Any, on_data: OnData) -> None:
    for split, loader in (("train", trainer.train_loader), ("val", trainer.test_loader)):
        on_data(split, loader.dataset.labels)


def _described(weights: str, folder: Path) -> Path:
    """The checked description as a file of its own: Ultralytics would look for one by name, in the current folder too.

    It reads the scale out of the file's name, which is therefore kept.
    """
    description = read_architecture(weights)
    file = folder / description.pop("yaml_file")
    del description["scale"]
    file.write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")
    return file


def store_checkpoint(source: Path, destination: Path) -> None:
    """Copies an Ultralytics checkpoint without what names the machine that trained it: paths, git state, date."""
    with as_given():
        checkpoint, _ = torch_safe_load(source.absolute())
    torch.save(_shareable(checkpoint), destination)


def store_model(model: DetectionModel, destination: Path) -> None:
    """Stores a detector as an Ultralytics checkpoint in the model's own precision: `YOLO(destination)` opens it.

    Modules are stored as they are, so a swapped activation comes back with them.
    """
    arguments: Any = model.args
    buffer = io.BytesIO()  # in a file, torch would name what is inside after the file, which is a temporary one here
    torch.save(_shareable({"epoch": -1, "model": model, "ema": None, "train_args": dict(arguments)}), buffer)
    write_atomically(destination, buffer.getvalue())


def _shareable(checkpoint: dict[str, Any]) -> dict[str, Any]:
    for key in ("git", "date"):
        checkpoint.pop(key, None)
    model = checkpoint.get("ema") or checkpoint["model"]
    for arguments in (checkpoint["train_args"], getattr(model, "args", {}), model.yaml, vars(model)):
        for key, value in arguments.items():
            if isinstance(value, str) and Path(value).is_absolute():
                arguments[key] = Path(value).name
    return checkpoint


def _show_epochs(model: YOLO, progress: Callable[[int, int, str], None], note: Callable[[str], None]) -> None:
    """Ultralytics is kept silent; these callbacks of its trainer tell how far it is."""
    done = shown = 0

    def after_batch(trainer: BaseTrainer) -> None:
        nonlocal done
        done += 1
        steps = trainer.epochs * len(trainer.train_loader)
        progress(done, steps, f"float epoch {trainer.epoch + 1}/{trainer.epochs} {_losses(trainer)}")

    def after_epoch(trainer: BaseTrainer) -> None:
        nonlocal shown
        if shown == done:
            return  # the same event also ends the last validation, that of the best checkpoint, without a batch before
        shown = done
        metrics: dict[str, float] = trainer.metrics or {}
        accuracy = metrics.get("metrics/mAP50-95(B)", 0.0)
        note(f"float epoch {trainer.epoch + 1}/{trainer.epochs}: {_losses(trainer)}, mAP50-95 {100 * accuracy:.1f}")

    model.add_callback("on_train_batch_end", after_batch)
    model.add_callback("on_fit_epoch_end", after_epoch)


def _losses(trainer: BaseTrainer) -> str:
    losses: Any = trainer.tloss or {}
    return " ".join(f"{name} {float(value):.3f}" for name, value in losses.items())
