"""The stage `control`: the steps of QAT on the float model, so that a gain is attributed to what earned it."""

from __future__ import annotations

from dataclasses import replace

from edgegd.detectors.student import FloatStudent
from edgegd.errors import RecipeError
from edgegd.pipeline.artifacts import ADAPTED_MODEL, CONTROL, CONTROL_GRAPH, CONTROL_STEPS, DATA, FLOAT_MODEL
from edgegd.pipeline.descent_run import DescentKind, descend, on_own_device
from edgegd.pipeline.models import float_model, model_to_quantize
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.pipeline.stage import Stage
from edgegd.pipeline.stages.export import described_float_graph
from edgegd.pipeline.stored import adapted_reads
from edgegd.progress import Progress
from edgegd.recipe.training import DESCENT_KEYS

CONTROL_DESCENT = DescentKind(
    result=CONTROL_GRAPH,
    record=CONTROL,
    steps=CONTROL_STEPS,
    last_good="control-last-good.onnx",
    checkpoint="control-checkpoint.safetensors",
    start="float",
    how="in float",
    rate="train.lr0",
)


def run_control(folder: RunFolder, progress: Progress) -> None:
    """Trains the float model as QAT trains the calibrated one; the best epoch is kept, as control.onnx.

    Same images in the same order, same loss, rates and moving average, chosen on the same images; nothing is quantized
    and BatchNorm is folded, as under QAT. Killed, it goes on as `descend` says.
    Raises RecipeError where the recipe asks for no control, TrainingCheckpointError, NaNLossError.
    """
    if not folder.recipe.train.control:
        raise RecipeError(
            "The recipe asks for no float control.",
            expected="train.control true",
            found="train.control false",
            mend=f"`edgegd run {folder.owner()} --run-dir {folder.path} --set train.control=true`",
        )
    settings = replace(on_own_device(folder.recipe.train), freeze_ranges_epochs=0, oscillation="off")
    origin = ADAPTED_MODEL if adapted_reads(folder) else FLOAT_MODEL
    student = FloatStudent(model_to_quantize(folder)).to(settings.device)

    def keep() -> None:
        model = model_to_quantize(folder)  # without the criterion of the training
        model.load_state_dict({name: value.cpu() for name, value in student.model.state_dict().items()})
        graph = described_float_graph(folder, model, origin)
        folder.write(CONTROL_DESCENT.last_good, graph.SerializeToString())

    read = (FLOAT_MODEL, *adapted_reads(folder))
    descend(
        folder,
        progress,
        student,
        settings,
        CONTROL_DESCENT,
        identity={str(artifact): sha256_of(folder.artifact(artifact)) for artifact in read},
        keep=keep,
        teacher=lambda: float_model(folder).to(settings.device),
    )


STAGE = Stage(
    "control",
    "the steps of QAT in float",
    (DATA, FLOAT_MODEL),
    (CONTROL_GRAPH, CONTROL, CONTROL_STEPS),
    ("model.imgsz", "model.end2end", "export", *DESCENT_KEYS, "accuracy"),
    run_control,
    reads_also=adapted_reads,
)
