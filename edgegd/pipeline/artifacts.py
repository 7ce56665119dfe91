"""The artifacts of a run: their names, the stages that make them, and reading them as their stages wrote them.

The hashes in a manifest tell a damaged artifact. A folder that came from elsewhere may hold artifacts and manifests
that agree and yet are not what any stage writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from edgegd.variants import QUANTIZED, VARIANTS, edge_file

if TYPE_CHECKING:
    from edgegd.pipeline.run_folder import RunFolder

_LONGEST_TARGET = 100  # characters of a target in a file's name, which may have 255


class Artifact(str):
    """The name of a file in a run folder, and the `stage` that makes it."""

    stage: str

    def __new__(cls, name: str, stage: str) -> Artifact:
        artifact = super().__new__(cls, name)
        artifact.stage = stage
        return artifact

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        return str(self), self.stage


DATA = Artifact("data.json", "data")
FLOAT_MODEL = Artifact("float.pt", "float")
ACTIVATION = Artifact("activation.json", "activation")
ADAPTED_MODEL = Artifact("adapted.pt", "adapt")
ADAPTATION = Artifact("adaptation.json", "adapt")
ADAPTATION_STEPS = Artifact("adaptation.jsonl", "adapt")
ADAPTATION_CHECKPOINT = Artifact("adapt-checkpoint.safetensors", "adapt")
"""There while the adaptation runs, and after it failed or was killed."""
PRECISION = Artifact("precision.json", "search")
PLAN = Artifact("plan.json", "ptq")
CALIBRATION = Artifact("calibration.json", "ptq")
PTQ_STATE = Artifact("ptq.safetensors", "ptq")
QAT_STATE = Artifact("qat.safetensors", "qat")
DESCENT = Artifact("descent.json", "qat")
DESCENT_STEPS = Artifact("descent.jsonl", "qat")
QAT_CHECKPOINT = Artifact("qat-checkpoint.safetensors", "qat")
"""There while QAT runs, and after it failed or was killed."""
DESCENT_PATH = Artifact("descent-path.safetensors", "qat")
"""The last weights and ranges of the descent, and a sample of its weights on their way."""
DESCENT_IMAGES = Artifact("descent-images.safetensors", "qat")
"""The loss of each training image in each epoch."""
CONTROL_GRAPH = Artifact("control.onnx", "control")
"""The float model after the steps of QAT in float, where train.control asks for it."""
CONTROL = Artifact("control.json", "control")
CONTROL_STEPS = Artifact("control.jsonl", "control")
PORTABLE = {variant: Artifact(f"{variant}.onnx", "export") for variant in VARIANTS}
EDGE = {variant: Artifact(edge_file(PORTABLE[variant]), "export") for variant in QUANTIZED}
ADAPTED_GRAPH = Artifact("adapted.onnx", "export")
"""The float graph of adapted.pt, where the recipe swaps activations: then fp32.onnx is not what is quantized."""
MODELS = (*PORTABLE.values(), *EDGE.values())
PASSES = Artifact("passes.json", "export")
VERIFICATION = Artifact("verify.json", "verify")
ACCURACY = Artifact("accuracy.json", "accuracy")
DETECTIONS = Artifact("detections.safetensors", "accuracy")
OPERATING_POINT = Artifact("operating-point.json", "operating-point")
CALIBRATION_CURVE = Artifact("calibration-curve.json", "calibration")
IMAGES = Artifact("images.json", "images")
IMAGE_PICTURES = "images"
"""The folder of the pictures of the images that quantization hurt most."""
EXPLORER = Artifact("explorer.html", "explore")
IMAGE_MAP = Artifact("image-map.json", "explore")
"""Where each image of explorer.html lies on its map."""
TRAINING_IMAGES = Artifact("training-images.json", "labels")
LATENCY = Artifact("latency.json", "latency")
REPORT = Artifact("report.json", "report")
REPORT_TEXT = Artifact("report.md", "report")
REPORT_PAGE = Artifact("report.html", "report")
REPORT_DATA = Artifact("report-data.json", "report")
ANALYSES = ("lr-range", "compare", "landscape")
"""What commands find about a descent: descent-NAME.json, and where there is a picture descent-NAME.svg."""
LANDSCAPE = Artifact("descent-landscape.json", "descent landscape")
LANDSCAPE_PICTURE = Artifact("descent-landscape.svg", "descent landscape")
LR_RANGE = Artifact("descent-lr-range.json", "descent lr-range")
LR_RANGE_PICTURE = Artifact("descent-lr-range.svg", "descent lr-range")
COMPARE = Artifact("descent-compare.json", "descent compare")
COMPARE_PICTURE = Artifact("descent-compare.svg", "descent compare")


def of_target(kind: str, target: str, stage: str) -> Artifact:
    """The artifact of one target, KIND-TARGET.json, whatever characters its name or URL has and however long it is."""
    name = quote(target, safe="")
    if len(name) > _LONGEST_TARGET:
        name = f"{name[:_LONGEST_TARGET]}-{sha256(target.encode()).hexdigest()[:12]}"
    return Artifact(f"{kind}-{name}.json", stage)


MODEL_READS = (FLOAT_MODEL, PLAN, PTQ_STATE, QAT_STATE)
"""What a stage reads that puts all models of a run together in torch, beside edgegd.pipeline.stored.adapted_reads."""
STATES = {"ptq": PTQ_STATE, "qat": QAT_STATE}
"""Variant -> the weights and ranges of its quantized model."""


_RENAMED = {"speedup_vs_fp32": "speedup", "calibrated_map50_95": "start_map50_95"}


def current_names(value: Any) -> Any:
    """An artifact's data under the names of today: folders of earlier versions stay readable."""
    if isinstance(value, dict):
        return {_RENAMED.get(key, key): current_names(inner) for key, inner in value.items()}
    return [current_names(inner) for inner in value] if isinstance(value, list) else value


@contextmanager
def as_made(folder: RunFolder, *artifacts: Artifact) -> Iterator[None]:
    """Within it, what goes wrong because an artifact is not what its stage writes is MissingArtifactError.

    `artifacts` are all that are read within, and only what they hold may decide what happens there.
    """
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, ArithmeticError, RecursionError) as error:
        unreadable = [artifact for artifact in artifacts if not _is_json(folder, artifact)]
        blamed = unreadable or list(artifacts)
        found = f"{' or '.join(blamed)}: {type(error).__name__}: {error}"
        what = f"{folder.artifact(blamed[0])} does not hold what its stage writes."
        if len(blamed) > 1:
            what = f"{folder.path} holds artifacts that are not what their stages write."
        wrong = folder.missing(what, blamed[0].stage)
        raise type(wrong)(wrong.what, expected=wrong.expected, found=found, mend=wrong.mend) from error


def _is_json(folder: RunFolder, name: str) -> bool:
    try:
        folder.read_json(name)
    except (ValueError, OSError):
        return False
    return True
