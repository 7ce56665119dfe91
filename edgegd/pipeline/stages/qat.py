"""The stage `qat`: gradient descent under fake quantization."""

from __future__ import annotations

from edgegd.pipeline.artifacts import (
    DATA,
    DESCENT,
    DESCENT_IMAGES,
    DESCENT_PATH,
    DESCENT_STEPS,
    FLOAT_MODEL,
    PLAN,
    PTQ_STATE,
    QAT_CHECKPOINT,
    QAT_STATE,
)
from edgegd.pipeline.descent_run import DescentKind, descend, on_own_device
from edgegd.pipeline.models import (
    float_model,
    quantized_model,
    store_state,
)
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.pipeline.stage import Stage
from edgegd.pipeline.stored import adapted_reads
from edgegd.progress import Progress
from edgegd.quant.consistent_ranges import settle_ranges
from edgegd.recipe.training import DESCENT_KEYS

QAT_DESCENT = DescentKind(
    result=QAT_STATE,
    record=DESCENT,
    steps=DESCENT_STEPS,
    last_good="qat-last-good.safetensors",
    checkpoint=QAT_CHECKPOINT,
    start="calibrated",
    how="under fake quantization",
    rate="train.lr0",
    path=DESCENT_PATH,
    images=DESCENT_IMAGES,
)


def run_qat(folder: RunFolder, progress: Progress) -> None:
    """Fine-tunes the calibrated model; the best epoch by mAP of the fake-quantized model is kept.

    Its teacher, where it has one, is the float model as it was before any swap of activations. Killed, it goes on as
    `descend` says. Raises TrainingCheckpointError for a checkpoint that cannot be read, NaNLossError.
    """
    settings = on_own_device(folder.recipe.train)
    quantized = quantized_model(folder, "ptq").to(settings.device)
    read = (PTQ_STATE, FLOAT_MODEL, *adapted_reads(folder))
    hashes = {str(artifact): sha256_of(folder.artifact(artifact)) for artifact in read}
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


STAGE = Stage(
    "qat",
    "gradient descent under fake quantization",
    (DATA, FLOAT_MODEL, PLAN, PTQ_STATE),
    (QAT_STATE, DESCENT, DESCENT_STEPS, DESCENT_PATH, DESCENT_IMAGES),
    ("model.imgsz", "model.end2end", "quant.weight_scales", *DESCENT_KEYS, "accuracy"),
    run_qat,
    reads_also=adapted_reads,
)
