"""The stage `adapt`: float training of the model with its new ReLUs, distilled from the SiLU model."""

from __future__ import annotations

from ultralytics.nn.tasks import DetectionModel

from edgegd.detectors.activation_swap import ActivationSwap, silu_paths, swap_to_relu
from edgegd.detectors.deployment import deploy
from edgegd.detectors.float_checkpoint import open_checkpoint
from edgegd.detectors.float_training import store_model
from edgegd.detectors.student import FloatStudent
from edgegd.errors import ActivationError
from edgegd.pipeline.artifacts import (
    ACTIVATION,
    ADAPTATION,
    ADAPTATION_CHECKPOINT,
    ADAPTATION_STEPS,
    ADAPTED_MODEL,
    DATA,
    FLOAT_MODEL,
    Artifact,
)
from edgegd.pipeline.descent_run import DescentKind, descend, on_own_device
from edgegd.pipeline.models import float_model, require_swap, stored_swap
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.pipeline.stage import Stage
from edgegd.progress import Progress
from edgegd.recipe.training import DESCENT_KEYS, adaptation_settings

ADAPTATION_DESCENT = DescentKind(
    result=ADAPTED_MODEL,
    record=ADAPTATION,
    steps=ADAPTATION_STEPS,
    last_good="adapt-last-good.pt",
    checkpoint=ADAPTATION_CHECKPOINT,
    start="swapped",
    how="in float",
    rate="train.adapt.lr0",
)


def run_adapt(folder: RunFolder, progress: Progress) -> None:
    """Trains the swapped model in float, BatchNorm live, against labels and the SiLU model; the best epoch is kept.

    adapted.pt is an Ultralytics checkpoint in float32 with the ReLUs in it. Killed, it goes on as `descend` says.
    Raises ActivationError where the recipe swaps nothing or the choice does not fit,
    TrainingCheckpointError, NaNLossError.
    """
    require_swap(folder)
    swap, settings = stored_swap(folder), on_own_device(adaptation_settings(folder.recipe.train))
    model = deploy(_swapped(folder, swap), end2end=folder.recipe.model.end2end, fold=False)
    student = FloatStudent(model).to(settings.device)

    def keep() -> None:
        fresh = _swapped(folder, swap)  # without the criterion, and without the form that deployment gives the head
        fresh.load_state_dict({name: value.cpu() for name, value in student.model.state_dict().items()})
        store_model(fresh, folder.artifact(ADAPTATION_DESCENT.last_good))

    descent = descend(
        folder,
        progress,
        student,
        settings,
        ADAPTATION_DESCENT,
        keep=keep,
        identity={name: sha256_of(folder.artifact(name)) for name in (FLOAT_MODEL, ACTIVATION)},
        teacher=lambda: float_model(folder).to(settings.device),
    )
    if descent.best_epoch == 0:
        progress.note("no epoch was better than the swapped model before the first step: that one is kept")


def _swapped(folder: RunFolder, swap: ActivationSwap) -> DetectionModel:
    model = open_checkpoint(folder.require(FLOAT_MODEL))
    if set(silu_paths(model)) != {*swap.relu, *swap.silu}:
        raise ActivationError(
            "activation.json was made for another model.",
            expected=f"the {len(silu_paths(model))} SiLUs of float.pt",
            found=f"{len(swap.relu) + len(swap.silu)} others",
            mend=f"choose anew: `edgegd activation {folder.path}`",
        )
    swap_to_relu(model, swap.relu)
    return model


def _choice_reads(folder: RunFolder) -> tuple[Artifact, ...]:
    # Not among the stage's own: where nothing is swapped, the stage says so instead of asking for the choice.
    return (ACTIVATION,) if folder.recipe.quant.activation != "silu" else ()


STAGE = Stage(
    "adapt",
    "float training of the swapped model",
    (DATA, FLOAT_MODEL),
    (ADAPTED_MODEL, ADAPTATION, ADAPTATION_STEPS),
    ("model.imgsz", "model.end2end", "quant.activation", "quant.activation_saving", *DESCENT_KEYS, "accuracy"),
    run_adapt,
    reads_also=_choice_reads,
)
