"""The stage `ptq`: plan, calibration and refinement of the float model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgegd.data.calibration import ImageBatches, batches, calibration_images
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
from edgegd.quant.growing_set import MOST, GrownSet, grow
from edgegd.quant.histogram import Histogram
from edgegd.quant.observers import AUTO_OBSERVER
from edgegd.quant.ranges import choose_ranges
from edgegd.quant.refine import refine
from edgegd.quant.sensitivity import collect_sensitivities, emphasised
from edgegd.recipe.paths import resolve_path
from edgegd.recipe.schema import QuantSection, Recipe
from edgegd.runtime.contract import Preprocessing

MOST_REFINED, REFINED_PIXELS = 64, 32 * 640 * 640  # images, and their pixels together, that refinement takes
SENSED = 32  # images on which the errors' weights are measured, one backward pass each
CALIBRATION_BATCH = 4  # images at a time: enough to keep the histograms cheap, little memory


def run_ptq(folder: RunFolder, progress: Progress) -> None:
    """Traces the float model, or its adapted form, makes the plan, calibrates and refines on training images."""
    recipe = folder.recipe
    model: Any = model_to_quantize(folder)
    section = recipe.quant
    plan = make_plan(folder, model, searched_float(folder, progress))
    quantized = QuantizedModel(model, plan, learned_weight_scales=section.weight_scales == "learned")
    preprocessing = run_preprocessing(folder, model)
    refine_as = refinement_of(section)
    refined_count = refined_images(recipe) if refine_as != "none" else 0
    paths, histograms, grown = _counted(folder, quantized, preprocessing, refined_count, progress)
    weighted = None
    if weighs_errors(section):
        weighted = emphasised(histograms, _sensitivities(quantized, paths[:SENSED], preprocessing, recipe, progress))
    ranges = choose_ranges(plan, histograms, section.observer, section.percentile, emphasised=weighted)
    set_ranges(quantized, ranges)
    for group in settle_ranges(quantized):
        ranges[group] = dataclasses.replace(ranges[group], scale=quantized.range_of(group).scale_value)
    refined = None
    if refine_as != "none":
        images = np.concatenate(list(batches(paths[:refined_count], preprocessing, refined_count)))
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
            "grown": grown.to_dict() if grown else None,
            "observer": section.observer,
            "refinement": refined,
            "ranges": {group: dataclasses.asdict(chosen) for group, chosen in ranges.items()},
        },
    )
    store_state(folder, PTQ_STATE, quantized)


def refinement_of(section: QuantSection) -> str:
    """What the recipe's refinement is, `auto` resolved."""
    return "full" if section.refine == "auto" else section.refine


def weighs_errors(section: QuantSection) -> bool:
    """Whether ranges are chosen by what their errors cost at the head; observers other than these know no errors."""
    return refinement_of(section) == "full" and section.observer in ("mse", AUTO_OBSERVER)


def refined_images(recipe: Recipe) -> int:
    """How many images a refinement takes: they are all in memory at once."""
    height, width = recipe.model.size
    return max(1, min(MOST_REFINED, REFINED_PIXELS // (height * width)))


def _counted(
    folder: RunFolder, quantized: QuantizedModel, preprocessing: Preprocessing, refined: int, progress: Progress
) -> tuple[Sequence[Path], dict[str, Histogram], GrownSet | None]:
    """The images of calibration and the histograms of what they show; how their number was found, where it was."""
    section, seed, dataset = folder.recipe.quant, folder.recipe.train.seed, stored_dataset(folder)
    images = ImageBatches(preprocessing, CALIBRATION_BATCH)
    if isinstance(section.calibration_images, int):
        paths = calibration_images(dataset, section.calibration_images, seed)
        if len(paths) < section.calibration_images:
            asked = section.calibration_images
            progress.note(f"calibrating on all {len(paths)} training images: {asked} were asked for")

        def told(done: int) -> None:
            progress.update(done, len(paths), "calibrating")

        histograms = collect(quantized, map(torch.from_numpy, images.of(paths)), told)
        images.require_contrast()
        return paths, histograms, None
    paths = calibration_images(dataset, MOST, seed)

    def count(start: int, end: int) -> dict[str, Histogram]:
        batched = map(torch.from_numpy, images.of(paths[start:end]))
        return collect(quantized, batched, lambda done: progress.update(start + done, end, "calibrating"))

    # What is read anyway costs nothing more: no set is smaller than the images of refinement and of errors' weights.
    fewest = max(refined, SENSED if weighs_errors(section) else 0)
    grown = grow(count, len(paths), quantized.plan, section.observer, section.percentile, fewest=fewest)
    images.require_contrast()
    progress.note(f"calibrated on {grown.reason()}")
    return paths[: grown.images], grown.histograms, grown


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
