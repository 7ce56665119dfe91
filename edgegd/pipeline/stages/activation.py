"""The stage `activation`: which SiLUs become ReLU. Only where the recipe swaps activations."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import replace
from typing import Any

import torch

from edgegd.atomic_files import write_atomically
from edgegd.data.calibration import batches, calibration_images
from edgegd.detectors.activation_choice import choose, silu_path, silu_units, swap_noise
from edgegd.detectors.activation_swap import ActivationSwap, SwapUnit, require_silu
from edgegd.detectors.deployment import plan_detector
from edgegd.detectors.float_checkpoint import open_checkpoint
from edgegd.device.fingerprint import fingerprint
from edgegd.export.graph import build_graph
from edgegd.pipeline.artifacts import (
    ACTIVATION,
    DATA,
    FLOAT_MODEL,
)
from edgegd.pipeline.models import float_model, require_swap, run_preprocessing
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stage import Stage
from edgegd.pipeline.stored import stored_dataset
from edgegd.plan.quant_plan import QuantPlan
from edgegd.precision.timing import Profile, profile_models
from edgegd.progress import Progress
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate
from edgegd.targets.local import LocalTarget

_IMAGES = 8  # a few real ones: noise differs by orders of magnitude between layers, by little between images
_BATCH = 4  # images at a time: little memory


def run_activation(folder: RunFolder, progress: Progress) -> None:
    """Chooses which SiLUs become ReLU: all of them, or by time and sensitivity those that are worth it.

    Raises ActivationError where the recipe swaps nothing or the model has no SiLU, and what profiling raises.
    """
    section = folder.recipe.quant
    require_swap(folder)
    paths = require_silu(open_checkpoint(folder.require(FLOAT_MODEL)))
    swap = ActivationSwap(section.activation, section.activation_saving, relu=paths, silu=())
    if section.activation == "auto":
        measured, conditions = _measure(folder, progress)
        units = choose(measured, section.activation_saving)
        chosen = {path for unit in units if unit.swapped for path in unit.paths}
        swap = replace(
            swap,
            relu=tuple(path for path in paths if path in chosen),
            silu=tuple(path for path in paths if path not in chosen),
            units=units,
            conditions=conditions,
        )
        progress.note(
            f"{sum(unit.saved_ms for unit in units if unit.swapped):.2f} of the "
            f"{sum(unit.saved_ms for unit in units):.2f} ms of all SiLUs go"
        )
    progress.note(f"{len(swap.relu)} of {len(paths)} SiLUs become ReLU")
    folder.write_json(ACTIVATION, dataclasses.asdict(swap))


def _measure(folder: RunFolder, progress: Progress) -> tuple[list[SwapUnit], dict[str, Any]]:
    recipe = folder.recipe
    model = float_model(folder)
    images = _images(folder, model)
    plan = plan_detector(model, recipe.model.size, recipe.target.profile)
    units, noises = silu_units(plan), []
    for noise in swap_noise(model, images, units):
        noises.append(noise)
        progress.update(len(noises), len(units), "what swapping each SiLU does to the head")
    profile = _profile_of_silu_model(folder, progress, model, plan, images)
    times: dict[str, float] = {}
    for address, ms in profile.operations_ms().items():
        times[silu_path(address)] = times.get(silu_path(address), 0.0) + ms
    measured = [
        SwapUnit(unit, sum(times.get(path, 0.0) for path in unit), noise)
        for unit, noise in zip(units, noises, strict=True)
    ]
    return measured, {
        "images": sum(map(len, images)),
        "run_ms": profile.run_ms,
        "cpu": profile.fingerprint["cpu"],
        "onnxruntime": profile.fingerprint["onnxruntime"],
        "threads": recipe.latency.threads,
        "profile": recipe.target.profile,
        "imgsz": recipe.model.imgsz,
    }


def _images(folder: RunFolder, model: torch.nn.Module) -> list[torch.Tensor]:
    paths = calibration_images(stored_dataset(folder), _IMAGES, folder.recipe.train.seed)
    return [torch.from_numpy(batch) for batch in batches(paths, run_preprocessing(folder, model), _BATCH)]


def _profile_of_silu_model(
    folder: RunFolder, progress: Progress, model: torch.nn.Module, plan: QuantPlan, images: list[torch.Tensor]
) -> Profile:
    """The profile of the model as it would be quantized without a swap; its ranges, of few images, cost no time."""
    recipe = folder.recipe
    path = folder.artifact(f".silu.onnx.{os.getpid()}.tmp")  # a name that the folder's next lock removes after a kill
    quantized = QuantizedModel(model, plan)
    calibrate(quantized, images, "minmax")
    content = build_graph(quantized, recipe.model.size, recipe.export.opset).SerializeToString()
    write_atomically(path, content)
    try:
        return profile_models(
            {"silu": path},
            LocalTarget(),
            recipe.latency,
            progress=lambda done, total: progress.update(done, total, "timing SiLUs"),
        )["silu"]
    finally:
        path.unlink()


def _machine(folder: RunFolder) -> Any:
    return fingerprint()["cpu"] if folder.recipe.quant.activation == "auto" else None


STAGE = Stage(
    "activation",
    "which SiLUs become ReLU",
    (DATA, FLOAT_MODEL),
    (ACTIVATION,),
    (
        "model.imgsz",
        "model.end2end",
        "quant.activation",
        "quant.activation_saving",
        "target",
        "latency.threads",
        "latency.spinning",
        "export.opset",
        "train.seed",
    ),
    run_activation,
    _machine,
)
