"""What an exported file says of itself: Ultralytics' keys, for `YOLO("model.onnx")`, and edgegd's contract."""

from __future__ import annotations

from importlib.metadata import version

import onnx
import torch
from torch import nn

from edgegd import __version__
from edgegd.detectors.deployment import class_names, detection_head, input_channels, model_stride, output_kind
from edgegd.export.file_keys import write_keys
from edgegd.network_size import NetworkSize, network_size
from edgegd.runtime.contract import OUTPUT_NAME, ModelContract, OutputContract, Preprocessing


def contract_of(
    graph: onnx.ModelProto,
    model: nn.Module,
    imgsz: int | NetworkSize,
    variant: str,
    plan_sha256: str,
    profile: str = "",
) -> ModelContract:
    """The contract of an exported graph: its preprocessing, the shape of its output, its classes and its origin.

    `imgsz` is (height, width), or the side of a square, in pixels; `plan_sha256` and `profile` are those of the
    quantization plan, empty for fp32.
    """
    (output,) = [o for o in graph.graph.output if o.name == OUTPUT_NAME]
    shape = tuple(dimension.dim_value for dimension in output.type.tensor_type.shape.dim)
    return ModelContract(
        preprocessing=Preprocessing.of_images(network_size(imgsz), input_channels(model)),
        output=OutputContract(output_kind(model), shape),
        names=class_names(model),
        stride=model_stride(model),
        variant=variant,
        plan_sha256=plan_sha256,
        profile=profile,
        versions={"edgegd": __version__, "torch": torch.__version__}
        | {name: version(name) for name in ("ultralytics", "onnx", "onnxruntime")},
    )


def set_metadata(graph: onnx.ModelProto, model: nn.Module, contract: ModelContract) -> None:
    """Writes both sets of keys into the graph."""
    write_keys(graph, contract, type(detection_head(model)).__name__)
