"""The stage `ptq`: plan, calibration and refinement of the float model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgegd.data.calibration import batches, calibration_images
from edgegd.detectors.curvature import Curvature
from edgegd.pipeline.artifacts import CALIBRATION, DATA, FLOAT_MODEL, PLAN, PTQ_STATE
from edgegd.pipeline.make_plan import make_plan
from edgegd.pipeline.models import (
    model_to_quantize,
    run_preprocessing,
    store_state,
)
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.pipeline.stage import Stage
from edgegd.pipeline.stages.search import searched_float, searched_reads
from edgegd.pipeline.stored import adapted_reads, stored_dataset
from edgegd.progress import Progress
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import collect, set_ranges
from edgegd.quant.consistent_ranges import settle_ranges
from edgegd.quant.histogram import Histogram
from edgegd.quant.observers import AUTO_OBSERVER
from edgegd.quant.ranges import choose_ranges
from edgegd.quant.refine import refine
from edgegd.quant.sensitivity import collect_sensitivities, emphasised
from edgegd.recipe.paths import resolve_path
from edgegd.recipe.schema import Recipe
from edgegd.runtime.contract import Preprocessing

MOST_REFINED, REFINED_PIXELS = 64, 32 * 640 * 640  # images, and their pixels together, that refinement takes
SENSED = 32  # images on which the errors' weights are measured, one backward pass each
_CALIBRATION_BATCH = 4  # images at a time: enough to keep the histograms cheap, little memory


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
    histograms = collect(
        quantized, map(torch.from_numpy, stream), lambda done: progress.update(done, len(paths), "calibrating")
    )
    weighted, refine_as = None, "full" if section.refine == "auto" else section.refine
    if refine_as == "full" and section.observer in ("mse", AUTO_OBSERVER):  # the others know no errors
        weighted = emphasised(histograms, _sensitivities(quantized, paths[:SENSED], preprocessing, recipe, progress))
    ranges = choose_ranges(plan, histograms, section.observer, section.percentile, emphasised=weighted)
    set_ranges(quantized, ranges)
    for group in settle_ranges(quantized):
        ranges[group] = dataclasses.replace(ranges[group], scale=quantized.range_of(group).scale_value)
    refined = None
    if refine_as != "none":
        height, width = recipe.model.size
        count = max(1, min(MOST_REFINED, REFINED_PIXELS // (height * width)))  # they are all in memory at once
        images = np.concatenate(list(batches(paths[:count], preprocessing, count)))
        refined = dataclasses.asdict(
            refine(
                quantized,
                torch.from_numpy(images),
                lambda done, total: progress.update(done, total, "refining"),
            )
        )
    folder.write(PLAN, plan.to_json().encode())
    folder.write_json(
        CALIBRATION,
        {
            "images": [str(p) for p in paths],
            "observer": section.observer,
            "refinement": refined,
            "ranges": {group: dataclasses.asdict(chosen) for group, chosen in ranges.items()},
        },
    )
    store_state(folder, PTQ_STATE, quantized)


def _sensitivities(
    quantized: QuantizedModel, paths: Sequence[Path], preprocessing: Preprocessing, recipe: Recipe, progress: Progress
) -> dict[str, Histogram]:
    return collect_sensitivities(
        quantized,
        map(torch.from_numpy, batches(paths, preprocessing, 1)),
        Curvature(quantized.model, recipe.train.seed),
        lambda done: progress.update(done, len(paths), "weighing errors"),
    )


def _plan_now(folder: RunFolder) -> str:
    path = resolve_path(folder.recipe.quant.plan)
    return sha256_of(path) if folder.recipe.quant.plan and path.is_file() else ""


STAGE = Stage(
    "ptq",
    "plan and calibration",
    (DATA, FLOAT_MODEL),
    (PLAN, CALIBRATION, PTQ_STATE),
    ("model.imgsz", "model.end2end", "quant", "target.profile", "train.seed"),
    run_ptq,
    _plan_now,
    lambda folder: (*adapted_reads(folder), *searched_reads(folder)),
)
