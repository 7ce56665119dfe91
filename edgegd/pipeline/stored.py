"""What a run folder holds as plain data: its data set, its plan, its weights and ranges. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx

from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.data.contents import ImageContent, current_boxes
from edgegd.data.dataset import Dataset
from edgegd.errors import LabelError
from edgegd.export.load_onnx import load_onnx
from edgegd.pipeline.artifacts import (
    ACTIVATION,
    ADAPTED_GRAPH,
    ADAPTED_MODEL,
    DATA,
    FLOAT_MODEL,
    PLAN,
    PORTABLE,
    STATES,
    Artifact,
    as_made,
)
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.plan.quant_plan import QuantPlan
from edgegd.plan.quantized_state import QuantizedState
from edgegd.plan.stored_state import read_state


def stored_dataset(folder: RunFolder) -> Dataset:
    """The data set as the `data` stage recorded it."""
    with as_made(folder, DATA):
        data = folder.read_json(DATA)

        def listed(kind: str) -> tuple[Path, ...]:
            return tuple(map(Path, data.get(f"{kind}_images", ())))

        return Dataset(
            Path(data["root"]),
            Path(data["yaml_path"]),
            tuple(data["names"]),
            tuple(map(Path, data["train_images"])),
            tuple(map(Path, data["val_images"])),
            data.get("channels", 3),
            listed("unlabelled"),
            listed("test"),
            listed("held_out"),
        )


def stored_contents(folder: RunFolder) -> dict[Path, ImageContent]:
    """What every image held when stage `data` read it."""
    with as_made(folder, DATA):
        data = folder.read_json(DATA)
        images = stored_dataset(folder).images
        return {image: ImageContent(*row) for image, row in zip(images, data["contents"], strict=True)}


def measured_truth(folder: RunFolder) -> GroundTruth:
    """The boxes of the images on which the run reports; see _truth."""
    return _truth(folder, stored_dataset(folder).measured_images)


def selection_truth(folder: RunFolder) -> GroundTruth:
    """The boxes of the images on which a training's epochs are compared; see _truth."""
    return _truth(folder, stored_dataset(folder).selection_images)


def _truth(folder: RunFolder, images: Sequence[Path]) -> GroundTruth:
    """The boxes of as many `images` as the recipe's accuracy section says, as stage `data` recorded them.

    Raises MissingArtifactError where a label file has changed since, and as GroundTruth.from_yolo.
    """
    dataset, count = stored_dataset(folder), folder.recipe.accuracy.images
    images, contents = list(images)[: count or None], stored_contents(folder)
    for image in images:
        current_boxes(image, contents[image], len(dataset.names))
    truth = GroundTruth.from_yolo(images, dataset.names, dataset.channels)
    for image, boxes in zip(images, truth.boxes, strict=True):
        if len(boxes) != contents[image].boxes:
            raise LabelError(
                f"{image} is measured with other boxes than stage `data` recorded.",
                expected=str(contents[image].boxes),
                found=str(len(boxes)),
            )
    return truth


def adapted_reads(folder: RunFolder) -> tuple[Artifact, ...]:
    """What a stage that needs `model_to_quantize` reads beside float.pt."""
    return (ACTIVATION, ADAPTED_MODEL) if folder.recipe.quant.activation != "silu" else ()


def stored_plan(folder: RunFolder) -> QuantPlan:
    """The run's quantization plan."""
    return QuantPlan.from_json(folder.require(PLAN).read_text(encoding="utf-8"))


def graph_to_quantize(folder: RunFolder) -> Artifact:
    """The addressed float graph of the model that the run quantizes."""
    return ADAPTED_GRAPH if adapted_reads(folder) else PORTABLE["fp32"]


def checkpoint_to_quantize(folder: RunFolder) -> Artifact:
    """The float checkpoint that the run quantizes."""
    return ADAPTED_MODEL if adapted_reads(folder) else FLOAT_MODEL


def float_origin(folder: RunFolder, checkpoint: Artifact) -> str:
    """What the float graph of a checkpoint is made from: the checkpoint's hash, and the head that is deployed."""
    return f"sha256 {sha256_of(folder.artifact(checkpoint))}, end2end {folder.recipe.model.end2end}"


def stored_graph(folder: RunFolder) -> onnx.ModelProto:
    """That graph.

    Raises MissingArtifactError where it is not there or was exported under another recipe, OnnxUnreadableError.
    """
    artifact, recipe = graph_to_quantize(folder), folder.recipe
    graph = load_onnx(folder.require(artifact))
    size = tuple(dimension.dim_value for dimension in graph.graph.input[0].type.tensor_type.shape.dim[2:])
    opsets = {entry.domain: entry.version for entry in graph.opset_import}
    if size != tuple(recipe.model.size) or opsets.get("") != recipe.export.opset:
        raise folder.missing(f"{folder.artifact(artifact)} was exported under another recipe.", artifact.stage)
    return graph


def stored_state(folder: RunFolder, variant: str, plan: QuantPlan) -> QuantizedState:
    """The weights and ranges of the calibrated (`ptq`) or fine-tuned (`qat`) model; raises as read_state."""
    return read_state(folder.require(STATES[variant]), plan, f"edgegd {variant} --force {folder.path}")
