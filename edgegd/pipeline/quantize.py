"""The stages that quantize the float model: ptq, qat."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from edgegd.accuracy.evaluate import score
from edgegd.data.calibration import batches, calibration_images
from edgegd.data.view import ultralytics_yaml
from edgegd.descent.batches import hyperparameters, training_batches
from edgegd.descent.fine_tune import Epoch, fine_tune, prepare_loss, seed_everything
from edgegd.errors import NaNLossError
from edgegd.pipeline.models import (
    float_model,
    quantized_model,
    store_state,
    stored_dataset,
    torch_detections,
    validation_truth,
)
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stage import Progress, Stage
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate
from edgegd.quant.folding import plan_detector
from edgegd.report.markdown import percent
from edgegd.runtime.contract import Preprocessing
from edgegd.runtime.detector import Detections

LAST_GOOD = "qat-last-good.safetensors"  # the best model while QAT runs; it outlives a run that fails
_CALIBRATION_BATCH = 4  # images at a time: enough to keep the histograms cheap, little memory


def run_ptq(folder: RunFolder, progress: Progress) -> None:
    """Traces the float model, makes the plan, and calibrates its ranges on training images."""
    recipe = folder.recipe
    model: Any = float_model(folder)
    imgsz = recipe.model.imgsz
    plan = plan_detector(model, imgsz, recipe.target.profile)
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
    scores: list[float] = []

    def validate() -> float:
        quantized.eval()
        found: list[Detections] = []
        for detections in torch_detections(quantized, model, folder, truth.image_paths):
            found.append(detections)
            progress.update(len(found), len(truth.image_paths), "mAP under fake quantization")
        scores.append(score(found, truth, max_det=recipe.accuracy.max_det).map50_95)
        if len(scores) == 1:
            progress.note(f"calibrated, before the first step: mAP50-95 {percent(scores[0])} under fake quantization")
        return scores[-1]

    def keep(epoch: int) -> None:
        store_state(folder, LAST_GOOD, quantized)

    def tell(epoch: Epoch) -> None:
        progress.note(f"epoch {epoch.epoch}/{settings.epochs}: loss {epoch.loss:.4f}, learning rate {epoch.lr:.2e}, "
                      f"mAP50-95 {percent(epoch.map50_95)} under fake quantization")  # fmt: skip

    try:
        descent = fine_tune(quantized, loader, settings, validate, keep, progress.update, tell)
    except NaNLossError as error:
        kept = f"the best model so far is kept in {folder.artifact(LAST_GOOD)}"
        raise NaNLossError(
            error.what, expected=error.expected, found=error.found, mend=f"{error.mend}; {kept}"
        ) from error
    folder.write("qat.safetensors", folder.artifact(LAST_GOOD).read_bytes())
    folder.artifact(LAST_GOOD).unlink()
    folder.write_json("descent.json", dataclasses.asdict(descent) | {"calibrated_map50_95": scores[0]})
    if descent.best_epoch == 0:
        progress.note("no epoch was better than the calibrated model: it is kept as the QAT model")


PTQ = Stage("ptq", "plan and calibration", {"data.json": "data", "float.pt": "float"},
            ("plan.json", "calibration.json", "ptq.safetensors"),
            ("model.imgsz", "model.end2end", "quant", "target.profile", "train.seed"), run_ptq)  # fmt: skip
QAT = Stage("qat", "gradient descent under fake quantization",
            {"data.json": "data", "float.pt": "float", "plan.json": "ptq", "ptq.safetensors": "ptq"},
            ("qat.safetensors", "descent.json"),
            ("model.imgsz", "model.end2end", "train", "accuracy"), run_qat)  # fmt: skip
