"""The stages that swap activations and adapt the float model to it: activation, adapt. Only where the recipe asks."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import replace
from typing import Any

import torch
from ultralytics.nn.tasks import DetectionModel

from edgegd.atomic_files import write_atomically
from edgegd.data.calibration import batches, calibration_images
from edgegd.descent.float_checkpoint import open_checkpoint
from edgegd.descent.float_training import store_model
from edgegd.descent.student import FloatStudent
from edgegd.errors import ActivationError
from edgegd.export.graph import build_graph
from edgegd.latency.fingerprint import fingerprint
from edgegd.pipeline.descend import DescentKind, descend
from edgegd.pipeline.models import float_model, run_preprocessing, stored_dataset, stored_swap
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.pipeline.stage import Progress, Stage
from edgegd.precision.timing import Profile, profile_models
from edgegd.quant.activation import ActivationSwap, SwapUnit, require_silu, silu_paths, swap_to_relu
from edgegd.quant.activation_choice import choose, silu_path, silu_units, swap_noise
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate
from edgegd.quant.folding import deploy, plan_detector
from edgegd.quant.plan import QuantPlan
from edgegd.recipe.schema import TrainSection
from edgegd.targets.local import LocalTarget

ADAPTATION = DescentKind(
    result="adapted.pt",
    record="adaptation.json",
    steps="adaptation.jsonl",
    last_good="adapt-last-good.pt",
    checkpoint="adapt-checkpoint.safetensors",
    start="swapped",
    how="in float",
    rate="train.adapt.lr0",
)
_IMAGES = 8  # a few real ones: noise differs by orders of magnitude between layers, by little between images
_BATCH = 4  # images at a time: little memory


def run_activation(folder: RunFolder, progress: Progress) -> None:
    """Chooses which SiLUs become ReLU: all of them, or by time and sensitivity those that are worth it.

    Raises ActivationError where the recipe swaps nothing or the model has no SiLU, and what profiling raises.
    """
    section = folder.recipe.quant
    _require_swap(folder)
    paths = require_silu(open_checkpoint(folder.require("float.pt", "float")))
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
    folder.write_json("activation.json", dataclasses.asdict(swap))


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


def _images(folder: RunFolder, model: DetectionModel) -> list[torch.Tensor]:
    paths = calibration_images(stored_dataset(folder), _IMAGES, folder.recipe.train.seed)
    return [torch.from_numpy(batch) for batch in batches(paths, run_preprocessing(folder, model), _BATCH)]


def _profile_of_silu_model(
    folder: RunFolder, progress: Progress, model: DetectionModel, plan: QuantPlan, images: list[torch.Tensor]
) -> Profile:
    """The profile of the model as it would be quantized without a swap; its ranges, of few images, cost no time."""
    recipe = folder.recipe
    path = folder.artifact(f".silu.onnx.{os.getpid()}.tmp")  # a name that the folder's next lock removes after a kill
    quantized = QuantizedModel(model, plan)
    calibrate(quantized, images, "minmax")
    content = build_graph(quantized, plan, recipe.model.size, recipe.export.opset).SerializeToString()
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


def run_adapt(folder: RunFolder, progress: Progress) -> None:
    """Trains the swapped model in float, BatchNorm live, against labels and the SiLU model; the best epoch is kept.

    adapted.pt is an Ultralytics checkpoint in float32 with the ReLUs in it. Killed, it goes on as `descend` says.
    Raises ActivationError where the recipe swaps nothing or the choice does not fit, QatCheckpointError, NaNLossError.
    """
    _require_swap(folder)
    swap, settings = stored_swap(folder), adaptation_settings(folder.recipe.train)
    model = deploy(_swapped(folder, swap), end2end=folder.recipe.model.end2end, fold=False)
    student = FloatStudent(model).to(settings.device)

    def keep() -> None:
        fresh = _swapped(folder, swap)  # without the criterion, and without the form that deployment gives the head
        fresh.load_state_dict({name: value.cpu() for name, value in student.model.state_dict().items()})
        store_model(fresh, folder.artifact(ADAPTATION.last_good))

    descent = descend(
        folder,
        progress,
        student,
        settings,
        ADAPTATION,
        keep=keep,
        identity={name: sha256_of(folder.artifact(name)) for name in ("float.pt", "activation.json")},
        teacher=lambda: float_model(folder).to(settings.device),
    )
    if descent.best_epoch == 0:
        progress.note("no epoch was better than the swapped model before the first step: that one is kept")


def adaptation_settings(train: TrainSection) -> TrainSection:
    """The settings of the adaptation as those of any descent: `train` with the keys of `train.adapt` in their places.

    There are no ranges and no codes, so what is about them is off; biases learn at the rate of the weights.
    """
    adapt = train.adapt
    return replace(
        train,
        epochs=adapt.epochs,
        lr0=adapt.lr0,
        bias_lr=None,
        warmup_epochs=adapt.warmup_epochs,
        distill=adapt.distill,
        freeze_ranges_epochs=0,
        oscillation="off",
    )


def _swapped(folder: RunFolder, swap: ActivationSwap) -> DetectionModel:
    model = open_checkpoint(folder.require("float.pt", "float"))
    if set(silu_paths(model)) != {*swap.relu, *swap.silu}:
        raise ActivationError(
            "activation.json was made for another model.",
            expected=f"the {len(silu_paths(model))} SiLUs of float.pt",
            found=f"{len(swap.relu) + len(swap.silu)} others",
            mend=f"choose anew: `edgegd activation {folder.path}`",
        )
    swap_to_relu(model, swap.relu)
    return model


def _require_swap(folder: RunFolder) -> None:
    if folder.recipe.quant.activation == "silu":
        raise ActivationError(
            "The recipe keeps its SiLUs, so there is nothing to choose or to adapt.",
            expected="quant.activation relu or auto",
            found="quant.activation silu",
            mend=f"`edgegd run {folder.owner()} --run-dir {folder.path} --set quant.activation=relu`",
        )


def _choice_reads(folder: RunFolder) -> dict[str, str]:
    # Not among the stage's own: where nothing is swapped, the stage says so instead of asking for the choice.
    return {"activation.json": "activation"} if folder.recipe.quant.activation != "silu" else {}


def _machine(folder: RunFolder) -> Any:
    return fingerprint()["cpu"] if folder.recipe.quant.activation == "auto" else None


ACTIVATION = Stage(
    "activation",
    "which SiLUs become ReLU",
    {"data.json": "data", "float.pt": "float"},
    ("activation.json",),
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
ADAPT = Stage(
    "adapt",
    "float training of the swapped model",
    {"data.json": "data", "float.pt": "float"},
    (ADAPTATION.result, ADAPTATION.record, ADAPTATION.steps),
    ("model.imgsz", "model.end2end", "quant.activation", "quant.activation_saving", "train", "accuracy"),
    run_adapt,
    reads_also=_choice_reads,
)
