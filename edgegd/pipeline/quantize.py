"""The stages that quantize the float model: ptq, qat."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from edgegd.accuracy.evaluate import score
from edgegd.data.calibration import batches, calibration_images
from edgegd.data.view import ultralytics_yaml
from edgegd.descent.batches import TrainingBatches, hyperparameters
from edgegd.descent.checkpoint import Checkpoint, CheckpointFile
from edgegd.descent.fine_tune import fine_tune
from edgegd.descent.losses import prepare_loss
from edgegd.descent.random_state import seed_everything
from edgegd.descent.record import Epoch
from edgegd.errors import NaNLossError, PlanError
from edgegd.pipeline.models import (
    float_model,
    quantized_model,
    store_state,
    stored_dataset,
    torch_detections,
    validation_truth,
)
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.pipeline.stage import Progress, Stage
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate
from edgegd.quant.folding import plan_detector, trace_detector
from edgegd.quant.plan import QuantPlan, require_plan_fits
from edgegd.quant.settling import settle_ranges
from edgegd.recipe.paths import resolve_path
from edgegd.report.markdown import percent
from edgegd.runtime.contract import Preprocessing
from edgegd.runtime.detector import Detections

LAST_GOOD = "qat-last-good.safetensors"  # the best model while QAT runs; it outlives a run that fails
CHECKPOINT = "qat-checkpoint.safetensors"  # from which a killed QAT goes on
STEPS = "descent.jsonl"
_CALIBRATION_BATCH = 4  # images at a time: enough to keep the histograms cheap, little memory
_NO_INFLUENCE = ("device", "workers", "checkpoint_minutes")  # of train: what a resumed training may change


def make_plan(folder: RunFolder, model: Any) -> QuantPlan:
    """The plan that the recipe asks for: from the rules and its changes to them, or from an edited file.

    Raises PlanError where the changes, or the file, do not fit the model.
    """
    recipe = folder.recipe
    section, imgsz, profile = recipe.quant, recipe.model.imgsz, recipe.target.profile
    if not section.plan:
        return plan_detector(model, imgsz, profile, float_patterns=section.float, rules=section.rules)
    path = resolve_path(section.plan)
    if section.float or section.rules:
        raise PlanError(
            "The recipe has both a plan of its own and changes to the rules' plan.", expected="quant.plan, or "
            "quant.float and quant.rules", found=f"quant.plan {path} and the others",
            mend="make the changes in the plan's file, or leave quant.plan out",
        )  # fmt: skip
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"The plan {path} cannot be read.", expected="a plan.json that the stage `ptq` wrote",
                        found=str(error), mend="correct quant.plan") from error  # fmt: skip
    plan = QuantPlan.from_json(text).for_profile(profile)
    require_plan_fits(plan, trace_detector(model, imgsz), (imgsz, imgsz))
    return plan


def _plan_now(folder: RunFolder) -> str:
    path = resolve_path(folder.recipe.quant.plan)
    return sha256_of(path) if folder.recipe.quant.plan and path.is_file() else ""


def run_ptq(folder: RunFolder, progress: Progress) -> None:
    """Traces the float model, makes the plan, and calibrates its ranges on training images."""
    recipe = folder.recipe
    model: Any = float_model(folder)
    imgsz, section = recipe.model.imgsz, recipe.quant
    plan = make_plan(folder, model)
    quantized = QuantizedModel(model, plan, learned_weight_scales=section.weight_scales == "learned")
    paths = calibration_images(stored_dataset(folder), section.calibration_images, recipe.train.seed)
    if len(paths) < section.calibration_images:
        progress.note(f"calibrating on all {len(paths)} training images: {section.calibration_images} were asked for")
    stream = batches(paths, Preprocessing(imgsz=(imgsz, imgsz)), _CALIBRATION_BATCH)
    ranges = calibrate(
        quantized, map(torch.from_numpy, stream), section.observer,
        lambda done: progress.update(done, len(paths), "calibrating"), percentile=section.percentile,
    )  # fmt: skip
    for group in settle_ranges(quantized):
        ranges[group] = dataclasses.replace(ranges[group], scale=quantized.range_of(group).scale_value)
    folder.write("plan.json", plan.to_json().encode())
    folder.write_json("calibration.json", {
        "images": [str(p) for p in paths], "observer": section.observer,
        "ranges": {group: dataclasses.asdict(chosen) for group, chosen in ranges.items()},
    })  # fmt: skip
    store_state(folder, "ptq.safetensors", quantized)


def run_qat(folder: RunFolder, progress: Progress) -> None:
    """Fine-tunes the calibrated model; the best epoch by mAP of the fake-quantized model is kept.

    A killed training goes on from its checkpoint, unless something that decides its result has changed since: it then
    starts anew, and the old checkpoint is kept under another name.
    Raises QatCheckpointError for a checkpoint that cannot be read, NaNLossError.
    """
    recipe, dataset = folder.recipe, stored_dataset(folder)
    settings, imgsz = recipe.train, recipe.model.imgsz
    quantized = quantized_model(folder, "ptq").to(settings.device)
    file = CheckpointFile(folder.artifact(CHECKPOINT), _identity(folder, quantized))
    resume = _resumable(file, progress)
    seed_everything(settings.seed)
    prepare_loss(quantized.model, hyperparameters(settings, imgsz))
    view = ultralytics_yaml(dataset, folder.artifact("view"))
    distils = settings.distill.head > 0 or settings.distill.neck > 0

    def keep(epoch: int) -> None:
        store_state(folder, LAST_GOOD, quantized)

    def tell_start(map50_95: float) -> None:
        progress.note(f"calibrated, before the first step: mAP50-95 {percent(map50_95)} under fake quantization")

    def tell(epoch: Epoch) -> None:
        progress.note(f"epoch {epoch.epoch}/{settings.epochs}: loss {epoch.loss:.4f}, learning rate {epoch.lr:.2e}, "
                      f"mAP50-95 {percent(epoch.map50_95)} under fake quantization")  # fmt: skip

    try:
        descent = fine_tune(
            quantized, TrainingBatches(view, dataset.names, settings, imgsz), settings,
            lambda: _validate(quantized, folder, progress), keep,
            teacher=float_model(folder).to(settings.device) if distils else None,
            progress=progress.update, on_start=tell_start, on_epoch=tell,
            file=file, resume=resume, log=folder.artifact(STEPS),
        )  # fmt: skip
    except NaNLossError as error:
        kept = f"the best model so far is kept in {folder.artifact(LAST_GOOD)}"
        raise NaNLossError(
            error.what, expected=error.expected, found=error.found, mend=f"{error.mend}; {kept}"
        ) from error
    folder.write("qat.safetensors", folder.artifact(LAST_GOOD).read_bytes())
    folder.write_json("descent.json", dataclasses.asdict(descent))
    folder.artifact(LAST_GOOD).unlink()
    file.path.unlink()
    if descent.best_epoch == 0:
        progress.note("no epoch was better than the calibrated model: it is kept as the QAT model")


def _validate(quantized: QuantizedModel, folder: RunFolder, progress: Progress) -> float:
    """mAP50-95 of the fake-quantized model, through the pre- and postprocessing of the accuracy stage."""
    settle_ranges(quantized)
    quantized.eval()
    truth, detector = validation_truth(folder), quantized.model
    found: list[Detections] = []
    for detections in torch_detections(quantized, detector, folder, truth.image_paths):  # type: ignore[arg-type]
        found.append(detections)
        progress.update(len(found), len(truth.image_paths), "mAP under fake quantization")
    return score(found, truth, max_det=folder.recipe.accuracy.max_det).map50_95


def _identity(folder: RunFolder, quantized: QuantizedModel) -> dict[str, Any]:
    """All that decides what the training computes, beside code and machine."""
    train = dataclasses.asdict(folder.recipe.train)
    return {
        "plan": quantized.plan.sha256, "ptq.safetensors": sha256_of(folder.artifact("ptq.safetensors")),
        "float.pt": sha256_of(folder.artifact("float.pt")), "data.json": sha256_of(folder.artifact("data.json")),
        "train": {key: value for key, value in train.items() if key not in _NO_INFLUENCE},
        "accuracy": dataclasses.asdict(folder.recipe.accuracy),
    }  # fmt: skip


def _resumable(file: CheckpointFile, progress: Progress) -> Checkpoint | None:
    checkpoint, changes = file.read()
    if checkpoint is None:
        return None
    if changes:
        aside = file.set_aside()
        progress.note(f"training starts anew, its checkpoint (kept as {aside.name}) is of other inputs: "
                      f"{', '.join(changes)}")  # fmt: skip
        return None
    progress.note(f"going on after step {checkpoint.record['step']} of an interrupted training")
    return checkpoint


PTQ = Stage("ptq", "plan and calibration", {"data.json": "data", "float.pt": "float"},
            ("plan.json", "calibration.json", "ptq.safetensors"),
            ("model.imgsz", "model.end2end", "quant", "target.profile", "train.seed"), run_ptq, _plan_now)  # fmt: skip
QAT = Stage("qat", "gradient descent under fake quantization",
            {"data.json": "data", "float.pt": "float", "plan.json": "ptq", "ptq.safetensors": "ptq"},
            ("qat.safetensors", "descent.json", STEPS),
            ("model.imgsz", "model.end2end", "quant.weight_scales", "train", "accuracy"), run_qat)  # fmt: skip
