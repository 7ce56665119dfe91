"""Opening an ONNX file with the onnx package: the model, or one error that names the file."""

from __future__ import annotations

from pathlib import Path

import onnx

from edgegd.errors import OnnxUnreadableError
from edgegd.regular_files import require_regular


def load_onnx(path: Path, *, load_external_data: bool = True) -> onnx.ModelProto:
    """The model of a file. Raises OnnxUnreadableError where there is none, or none that the onnx package reads."""
    try:
        require_regular(path)
        model = onnx.load(path, load_external_data=load_external_data)
    except Exception as error:  # protobuf's exceptions are no public names; weights in a second file raise others
        raise OnnxUnreadableError(
            f"{path} is no ONNX file that the onnx package reads.",
            expected="a whole file that `edgegd export` wrote",
            found=f"{type(error).__name__}: {error}",
            mend="export the model again",
        ) from error
    if not model.graph.node:
        raise OnnxUnreadableError(
            f"{path} holds no model.", expected="a graph with nodes", found="none", mend="export the model again"
        )
    return model
