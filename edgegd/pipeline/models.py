"""How the models of a run are put together in torch from its artifacts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from edgegd.detectors.activation_swap import ActivationSwap, require_swapped
from edgegd.detectors.deployment import class_names, deploy, input_channels, model_stride, output_kind, trace_detector
from edgegd.detectors.float_checkpoint import open_checkpoint
from edgegd.errors import ActivationError
from edgegd.pipeline.artifacts import ACTIVATION, ADAPTED_MODEL, FLOAT_MODEL, STATES, as_made
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stored import adapted_reads, stored_plan
from edgegd.plan.quant_plan import require_plan_fits
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.stored_state import load_state
from edgegd.runtime.contract import ModelContract, OutputContract, Preprocessing
from edgegd.runtime.detector import Detections, detections_from_output
from edgegd.runtime.images import read_for
from edgegd.runtime.letterbox import preprocess

_BATCH = 8  # images at a time in torch: enough to amortise the calls, little memory


def float_model(folder: RunFolder) -> Any:
    """The run's float checkpoint in its deployed form."""
    return deploy(open_checkpoint(folder.require(FLOAT_MODEL)), end2end=folder.recipe.model.end2end)


def run_preprocessing(folder: RunFolder, model: torch.nn.Module) -> Preprocessing:
    """How images become the input of the run's `model`: the recipe's size, the model's channels."""
    return Preprocessing.of_images(folder.recipe.model.size, input_channels(model))


def model_to_quantize(folder: RunFolder) -> Any:
    """The float model that is quantized, deployed: float.pt, or where the recipe swaps activations adapted.pt.

    Raises ActivationError where adapted.pt or the choice of activations is of another recipe.
    """
    if not adapted_reads(folder):
        return float_model(folder)
    adapted = open_checkpoint(folder.require(ADAPTED_MODEL))
    require_swapped(adapted, stored_swap(folder))
    return deploy(adapted, end2end=folder.recipe.model.end2end)


def require_swap(folder: RunFolder) -> None:
    """ActivationError where the recipe swaps no activation."""
    if folder.recipe.quant.activation == "silu":
        raise ActivationError(
            "The recipe keeps its SiLUs, so there is nothing to choose or to adapt.",
            expected="quant.activation relu or auto",
            found="quant.activation silu",
            mend=f"`edgegd run {folder.owner()} --run-dir {folder.path} --set quant.activation=relu`",
        )


def stored_swap(folder: RunFolder) -> ActivationSwap:
    """The run's choice of activations; ActivationError where it was made for another recipe."""
    section = folder.recipe.quant
    folder.require(ACTIVATION)
    with as_made(folder, ACTIVATION):
        swap = ActivationSwap.from_data(folder.read_json(ACTIVATION))
    asked = (section.activation, section.activation_saving)
    if (swap.activation, swap.saving) != asked:
        raise ActivationError(
            f"The activations of {folder.path} were chosen for another recipe.",
            expected=f"quant.activation {asked[0]}, quant.activation_saving {asked[1]}",
            found=f"quant.activation {swap.activation}, quant.activation_saving {swap.saving}",
            mend=f"choose anew: `edgegd activation {folder.path}`, then `edgegd adapt {folder.path}`",
        )
    return swap


def uncalibrated_model(folder: RunFolder) -> QuantizedModel:
    """The run's float model under its plan, before any range is set, in evaluation mode.

    Raises:
        ActivationError: as model_to_quantize.
        PlanError: the plan does not fit the model or model.imgsz.
    """
    recipe = folder.recipe
    model, plan = model_to_quantize(folder), stored_plan(folder)
    require_plan_fits(plan, trace_detector(model, recipe.model.size), recipe.model.size)
    return QuantizedModel(model, plan, learned_weight_scales=recipe.quant.weight_scales == "learned").eval()


def quantized_model(folder: RunFolder, variant: str) -> QuantizedModel:
    """The calibrated (`ptq`) or fine-tuned (`qat`) model of the run, in evaluation mode.

    Raises:
        ActivationError: as model_to_quantize.
        PlanError: as uncalibrated_model, or the state was stored under another plan.
        CheckpointUnreadableError: the state is truncated, of another version of edgegd, or has values that are not
            finite.
    """
    quantized = uncalibrated_model(folder)
    load_state(folder.require(STATES[variant]), quantized, f"edgegd {variant} --force {folder.path}")
    return quantized.eval()


def store_state(folder: RunFolder, name: str, quantized: QuantizedModel) -> None:
    """Stores weights and ranges in float32 under the plan's hash; nothing in the file can run code when it is read."""
    state = {key: value.detach().cpu().contiguous() for key, value in quantized.state_dict().items()}
    folder.write(name, safetensors.torch.save(state, {"plan_sha256": quantized.plan.sha256}))


def torch_detections(
    model: torch.nn.Module, detector: torch.nn.Module, folder: RunFolder, paths: Sequence[Path]
) -> Iterator[Detections]:
    """What `model` detects in each image in torch, with the runtime's own pre- and postprocessing.

    `detector` is the deployed model inside `model`; thresholds are those of the recipe's accuracy section. Images run
    in batches, so that the calls of an operation are paid for once for several images.
    """
    settings = folder.recipe.accuracy
    preprocessing = run_preprocessing(folder, detector)
    names = class_names(detector)
    kind = output_kind(detector)
    device = next(detector.parameters()).device
    for start in range(0, len(paths), _BATCH):
        pixels, geometries = zip(
            *(preprocess(read_for(path, preprocessing), preprocessing) for path in paths[start : start + _BATCH]),
            strict=True,
        )
        with torch.no_grad():
            outputs: Any = model(torch.from_numpy(np.concatenate(pixels)).to(device)).cpu().numpy()
        contract = ModelContract(
            preprocessing, OutputContract(kind, (1, *outputs.shape[1:])), names, model_stride(detector)
        )
        for output, geometry in zip(outputs, geometries, strict=True):
            yield detections_from_output(
                output[None],
                contract,
                geometry,
                conf=settings.conf,
                iou=settings.iou,
                max_det=settings.max_det,
                multi_label=True,
                clip=False,
            )
