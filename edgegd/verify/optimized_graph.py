"""The graph that onnxruntime really runs on this machine: a file after all its optimizations. Needs no torch."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnxruntime

from edgegd.errors import OnnxUnreadableError
from edgegd.runtime.session import load_session

# Every name under which onnxruntime's CPU provider runs a float convolution after optimization.
FLOAT_CONVOLUTIONS = frozenset({"Conv", "FusedConv", "NhwcFusedConv", "NhwcConv"})
INTEGER_CONVOLUTIONS = frozenset({"QLinearConv", "ConvInteger"})


def load_with_graph(
    path: Path, *, signed_activations: bool = False
) -> tuple[onnxruntime.InferenceSession, onnx.ModelProto]:
    """A session with all optimizations, and the graph that onnxruntime made for it.

    `signed_activations` as for load_session. Raises OnnxUnreadableError.
    """
    with tempfile.TemporaryDirectory() as folder:
        optimized_path = Path(folder) / "optimized.onnx"
        session = load_session(path, optimized_path=optimized_path, signed_activations=signed_activations)
        return session, _read_back(optimized_path, path)


def _read_back(optimized_path: Path, path: Path) -> onnx.ModelProto:
    """The written graph. onnxruntime leaves weights in the second file where it has found them, which is not there."""
    try:
        return onnx.load(optimized_path)
    except Exception as error:  # onnx raises ValidationError, which is protobuf's or its own by version
        raise OnnxUnreadableError(
            f"{path} has weights in a second file.",
            expected="one file that holds the whole model",
            found=" ".join(str(error).split())[:200],
            mend="save it in one file: onnx.save(onnx.load(FILE), NEW)",
        ) from error


def element_types(optimized: onnx.ModelProto) -> dict[str, str]:
    """The element type of every computed tensor and input as onnxruntime writes it (`tensor(float)`), by name.

    The written graph holds no types of its own and onnx knows nothing of onnxruntime's operators, so onnxruntime is
    asked: every tensor is made an output, of a session that is loaded without optimizations and never run.
    """
    exposed = onnx.ModelProto()
    exposed.CopyFrom(optimized)
    present = {output.name for output in exposed.graph.output}
    computed = dict.fromkeys(name for node in exposed.graph.node for name in node.output if name)
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in computed if name not in present)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exposed.onnx"
        onnx.save(exposed, path)
        session = load_session(path, optimization="disabled")
    return {tensor.name: tensor.type for tensor in (*session.get_inputs(), *session.get_outputs())}
