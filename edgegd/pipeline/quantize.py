"""The stages that quantize the float model: ptq, qat."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from edgegd.bounded_read import read_bounded
from edgegd.data.calibration import batches, calibration_images
from edgegd.errors import PlanError
from edgegd.limits import JSON_BYTES
from edgegd.pipeline.descend import DescentKind, descend
from edgegd.pipeline.models import (
    adapted_reads,
    float_model,
    model_to_quantize,
    quantized_model,
    run_preprocessing,
    store_state,
    stored_dataset,
)
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.pipeline.search import searched_float, searched_reads
from edgegd.pipeline.stage import Progress, Stage
from edgegd.precision.assembly import Addresses
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate
from edgegd.quant.folding import plan_detector, trace_detector
from edgegd.quant.plan import QuantPlan, require_plan_fits
from edgegd.quant.planning import changed_rules
from edgegd.quant.refine import refine
from edgegd.quant.rules import TABLES
from edgegd.quant.settling import settle_ranges
from edgegd.recipe.paths import resolve_path
from edgegd.recipe.schema import QuantSection, Recipe

QAT_DESCENT = DescentKind(
    result="qat.safetensors",
    record="descent.json",
    steps="descent.jsonl",
    last_good="qat-last-good.safetensors",
    checkpoint="qat-checkpoint.safetensors",
    start="calibrated",
    how="under fake quantization",
    rate="train.lr0",
)
_MOST_REFINED, _REFINED_PIXELS = 64, 32 * 640 * 640  # images, and their pixels together, that refinement takes
_CALIBRATION_BATCH = 4  # images at a time: enough to keep the histograms cheap, little memory


def make_plan(folder: RunFolder, model: Any, searched: Addresses = ()) -> QuantPlan:
    """The plan that the recipe asks for: from the rules and its changes to them, or from an edited file.

    `searched` are addresses that stay float beside those of the recipe. Raises PlanError where the changes, or the
    file, do not fit the model.
    """
    recipe = folder.recipe
    section, size, profile = recipe.quant, recipe.model.size, recipe.target.profile
    if not section.plan:
        return plan_detector(model, size, profile, float_patterns=(*section.float, *searched), rules=section.rules)
    plan = _read_plan(section).for_profile(profile)
    require_plan_fits(plan, trace_detector(model, size), size)
    return plan


def _read_plan(section: QuantSection) -> QuantPlan:
    """The plan of quant.plan; PlanError."""
    path = resolve_path(section.plan)
    if section.float or section.rules:
        raise PlanError(
            "The recipe has both a plan of its own and changes to the rules' plan.",
            expected="quant.plan, or quant.float and quant.rules",
            found=f"quant.plan {path} and the others",
            mend="make the changes in the plan's file, or leave quant.plan out",
        )
    try:
        content = read_bounded(path, JSON_BYTES)
        if content is None:
            raise ValueError(f"more than {JSON_BYTES >> 20} MiB")
        text = content.decode()
    except (OSError, ValueError) as error:
        raise PlanError(
            f"The plan {path} cannot be read.",
            expected="a plan.json that the stage `ptq` wrote",
            found=str(error),
            mend="correct quant.plan",
        ) from error
    return QuantPlan.from_json(text)


def require_plan_section(recipe: Recipe) -> None:
    """PlanError for what is wrong with quant.rules and quant.plan before any model is looked at."""
    section = recipe.quant
    changed_rules(TABLES.get(recipe.target.profile) or next(iter(TABLES.values())), section.rules)
    if section.plan:
        _read_plan(section)


def _plan_now(folder: RunFolder) -> str:
    path = resolve_path(folder.recipe.quant.plan)
    return sha256_of(path) if folder.recipe.quant.plan and path.is_file() else ""


def run_ptq(folder: RunFolder, progress: Progress) -> None:
    """Traces the float model, or its adapted form, makes the plan, calibrates and refines on training images."""
    recipe = folder.recipe
    model: Any = model_to_quantize(folder)
    section = recipe.quant
    plan = make_plan(folder, model, searched_float(folder, progress))
    quantized = QuantizedModel(model, plan, learned_weight_scales=section.weight_scales == "learned")
    paths = calibration_images(stored_dataset(folder), section.calibration_images, recipe.train.seed)
    if len(paths) < section.calibration_images:
        progress.note(f"calibrating on all {len(paths)} training images: {section.calibration_images} were asked for")
    preprocessing = run_preprocessing(folder, model)
    stream = batches(paths, preprocessing, _CALIBRATION_BATCH)
    ranges = calibrate(
        quantized,
        map(torch.from_numpy, stream),
        section.observer,
        lambda done: progress.update(done, len(paths), "calibrating"),
        percentile=section.percentile,
    )
    for group in settle_ranges(quantized):
        ranges[group] = dataclasses.replace(ranges[group], scale=quantized.range_of(group).scale_value)
    refined = None
    # With 8 bits it was seen to lose 0.4 points (driving scenes, 64 images) as well as to gain; with 7 it gains.
    if section.refine == "fast" or (section.refine == "auto" and plan.weight_format.bits < 8):
        height, width = recipe.model.size
        count = max(1, min(_MOST_REFINED, _REFINED_PIXELS // (height * width)))  # they are all in memory at once
        images = np.concatenate(list(batches(paths[:count], preprocessing, count)))
        refined = dataclasses.asdict(
            refine(
                quantized,
                torch.from_numpy(images),
                lambda done, total: progress.update(done, total, "refining"),
            )
        )
    folder.write("plan.json", plan.to_json().encode())
    folder.write_json(
        "calibration.json",
        {
            "images": [str(p) for p in paths],
            "observer": section.observer,
            "refinement": refined,
            "ranges": {group: dataclasses.asdict(chosen) for group, chosen in ranges.items()},
        },
    )
    store_state(folder, "ptq.safetensors", quantized)


def run_qat(folder: RunFolder, progress: Progress) -> None:
    """Fine-tunes the calibrated model; the best epoch by mAP of the fake-quantized model is kept.

    Its teacher, where it has one, is the float model as it was before any swap of activations. Killed, it goes on as
    `descend` says. Raises QatCheckpointError for a checkpoint that cannot be read, NaNLossError.
    """
    settings = folder.recipe.train
    quantized = quantized_model(folder, "ptq").to(settings.device)
    read = ("ptq.safetensors", "float.pt", *adapted_reads(folder))
    hashes = {name: sha256_of(folder.artifact(name)) for name in read}
    descent = descend(
        folder,
        progress,
        quantized,
        settings,
        QAT_DESCENT,
        identity={"plan": quantized.plan.sha256, **hashes},
        keep=lambda: store_state(folder, QAT_DESCENT.last_good, quantized),
        before_validation=lambda: settle_ranges(quantized),
        teacher=lambda: float_model(folder).to(settings.device),
    )
    if descent.best_epoch == 0:
        progress.note("no epoch was better than the calibrated model: it is kept as the QAT model")


PTQ = Stage(
    "ptq",
    "plan and calibration",
    {"data.json": "data", "float.pt": "float"},
    ("plan.json", "calibration.json", "ptq.safetensors"),
    ("model.imgsz", "model.end2end", "quant", "target.profile", "train.seed"),
    run_ptq,
    _plan_now,
    lambda folder: adapted_reads(folder) | searched_reads(folder),
)
QAT = Stage(
    "qat",
    "gradient descent under fake quantization",
    {"data.json": "data", "float.pt": "float", "plan.json": "ptq", "ptq.safetensors": "ptq"},
    (QAT_DESCENT.result, QAT_DESCENT.record, QAT_DESCENT.steps),
    ("model.imgsz", "model.end2end", "quant.weight_scales", "train", "accuracy"),
    run_qat,
    reads_also=adapted_reads,
)
