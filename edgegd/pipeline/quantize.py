"""The stages up to the fine-tuned model: data, float, ptq, qat."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from edgegd.accuracy.evaluate import evaluate
from edgegd.data.calibration import batches, calibration_images
from edgegd.data.check import check_dataset
from edgegd.data.dataset import open_dataset
from edgegd.data.labels import label_path
from edgegd.data.view import ultralytics_yaml
from edgegd.descent.batches import hyperparameters, training_batches
from edgegd.descent.fine_tune import fine_tune, prepare_loss, seed_everything
from edgegd.descent.float_checkpoint import (
    knows_classes,
    locate_checkpoint,
    open_checkpoint,
    require_classes,
    require_stride,
)
from edgegd.descent.float_training import train_float
from edgegd.pipeline.models import (
    float_model,
    quantized_model,
    store_state,
    stored_dataset,
    torch_detector,
    validation_truth,
)
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.pipeline.stage import Progress, Stage
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate
from edgegd.quant.folding import detection_head, float_box_convolutions
from edgegd.quant.plan import build_plan
from edgegd.quant.rules.table import HeadPaths
from edgegd.quant.tracing import trace
from edgegd.runtime.contract import Preprocessing

_CALIBRATION_BATCH = 4  # images at a time: enough to keep the histograms cheap, little memory


def _data_now(folder: RunFolder) -> str:
    """Hash of the names, sizes and modification times of all images and labels; empty before the first run."""
    if not folder.artifact("data.json").exists():
        return ""
    dataset, digest = open_dataset(folder.recipe.data), hashlib.sha256()
    for image in (*dataset.train_images, *dataset.val_images):
        for file in (image, label_path(image)):
            stat = os.stat(file) if file.exists() else None
            digest.update(f"{file} {(stat.st_size, stat.st_mtime_ns) if stat else None}\n".encode())
    return digest.hexdigest()


def run_data(folder: RunFolder, progress: Progress) -> None:
    """Opens (draws, downloads) the data set, checks every image and label, and records what is there."""
    section = folder.recipe.data
    dataset = open_dataset(section, lambda done, total: progress.update(done, total, "drawing or fetching images"))
    check = check_dataset(
        dataset, section.unlabelled, lambda done, total: progress.update(done, total, "checking images and labels")
    )
    progress.note(
        f"{check.train_images} training images with {check.train_boxes} boxes, "
        f"{check.val_images} validation images with {check.val_boxes}; {', '.join(dataset.names)}"
    )
    folder.write_json("data.json", {
        "root": str(dataset.root), "yaml_path": str(dataset.yaml_path), "names": dataset.names,
        "check": dataclasses.asdict(check),
        "train_images": [str(path) for path in dataset.train_images],
        "val_images": [str(path) for path in dataset.val_images],
    })  # fmt: skip


def _weights_now(folder: RunFolder) -> Any:
    weights = folder.recipe.model.weights
    return weights if weights.endswith((".yaml", ".yml")) else sha256_of(locate_checkpoint(weights))


def run_float(folder: RunFolder, progress: Progress) -> None:
    """Takes the user's checkpoint as it is, or trains one with Ultralytics where it does not know the classes yet."""
    model_section, names = folder.recipe.model, stored_dataset(folder).names
    settings, weights = model_section.float, model_section.weights
    if not weights.endswith((".yaml", ".yml")):
        path = locate_checkpoint(weights)
        model = open_checkpoint(path)
        require_stride(model, model_section.imgsz)
        detection_head(model)
        if settings.epochs == 0:
            require_classes(model, names, weights)
        if knows_classes(model, names):
            folder.write("float.pt", path.read_bytes())
            return
        weights = str(path)
    progress.note(f"training {weights} in float for {settings.epochs} epochs with Ultralytics")
    data_yaml = ultralytics_yaml(stored_dataset(folder), folder.artifact("view"))
    with tempfile.TemporaryDirectory(dir=folder.path, prefix=".float-") as work:
        best = Path(work) / "best.pt"
        train_float(weights, data_yaml, best, imgsz=model_section.imgsz, settings=settings,
                    train=folder.recipe.train, work_folder=Path(work))
        require_stride(open_checkpoint(best), model_section.imgsz)
        folder.write("float.pt", best.read_bytes())


def run_ptq(folder: RunFolder, progress: Progress) -> None:
    """Traces the float model, makes the plan, and calibrates its ranges on training images."""
    recipe, model = folder.recipe, float_model(folder)
    path = f"model.{len(model.model) - 1}"
    head = HeadPaths(path, frozenset(f"{path}.{name}" for name in float_box_convolutions(detection_head(model))))
    imgsz = recipe.model.imgsz
    plan = build_plan(trace(model, torch.zeros(1, 3, imgsz, imgsz)), head, recipe.target.profile)
    quantized = QuantizedModel(model, plan)
    paths = calibration_images(stored_dataset(folder), recipe.quant.calibration_images, recipe.train.seed)
    stream = batches(paths, Preprocessing(imgsz=(imgsz, imgsz)), _CALIBRATION_BATCH)
    ranges = calibrate(
        quantized, map(torch.from_numpy, stream), recipe.quant.observer,
        lambda done: progress.update(done, len(paths), "calibrating"),
    )  # fmt: skip
    folder.write("plan.json", plan.to_json().encode())
    folder.write_json("calibration.json", {
        "images": [str(p) for p in paths], "observer": recipe.quant.observer,
        "ranges": {group: dataclasses.asdict(chosen) | {"sqnr_db": round(min(chosen.sqnr_db, 999.0), 2)}
                   for group, chosen in ranges.items()},
    })  # fmt: skip
    store_state(folder, "ptq.safetensors", quantized)


def run_qat(folder: RunFolder, progress: Progress) -> None:
    """Fine-tunes the calibrated model; the best epoch by mAP of the fake-quantized model is kept."""
    recipe, dataset = folder.recipe, stored_dataset(folder)
    settings, imgsz = recipe.train, recipe.model.imgsz
    seed_everything(settings.seed)
    quantized = quantized_model(folder, "ptq").to(settings.device)
    model: Any = quantized.model
    prepare_loss(model, hyperparameters(settings, imgsz))
    loader = training_batches(ultralytics_yaml(dataset, folder.artifact("view")), dataset.names, settings, imgsz)
    truth = validation_truth(folder)
    detect = torch_detector(quantized, model, folder)

    def score() -> float:
        quantized.eval()
        result = evaluate(
            detect, truth, progress=lambda done, total: progress.update(done, total, "mAP under fake quantization")
        )
        return result.map50_95

    def keep(epoch: int) -> None:
        store_state(folder, "qat-last-good.safetensors", quantized)

    descent = fine_tune(quantized, loader, settings, score, keep, progress.update)
    folder.write("qat.safetensors", folder.artifact("qat-last-good.safetensors").read_bytes())
    folder.artifact("qat-last-good.safetensors").unlink()
    folder.write_json("descent.json", dataclasses.asdict(descent))
    if descent.best_epoch == 0:
        progress.note("no epoch was better than the calibrated model: it is kept as the QAT model")


DATA = Stage("data", "open and check the data set", {}, ("data.json",), ("data",), run_data, _data_now)
FLOAT = Stage("float", "the float checkpoint", {"data.json": "data"}, ("float.pt",),
              ("model.weights", "model.imgsz", "model.float", "train.device", "train.workers", "train.seed"),
              run_float, _weights_now)  # fmt: skip
PTQ = Stage("ptq", "plan and calibration", {"data.json": "data", "float.pt": "float"},
            ("plan.json", "calibration.json", "ptq.safetensors"),
            ("model.imgsz", "model.end2end", "quant", "target.profile", "train.seed"), run_ptq)  # fmt: skip
QAT = Stage("qat", "gradient descent under fake quantization",
            {"data.json": "data", "float.pt": "float", "plan.json": "ptq", "ptq.safetensors": "ptq"},
            ("qat.safetensors", "descent.json"), ("model.imgsz", "model.end2end", "train", "accuracy"), run_qat)  # fmt: skip
