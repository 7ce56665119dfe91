"""The integer codes that onnxruntime computes inside an exported file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from edgegd.export.graph_forms import with_codes_as_outputs
from edgegd.quant.nodes import CODES
from edgegd.runtime.contract import INPUT_NAME
from edgegd.runtime.session import load_session


def load_exposed(path: Path, *, optimization: str = "all") -> onnxruntime.InferenceSession:
    """A session of the file with the codes of all quantized activations as further outputs.

    onnxruntime fuses the same integer kernels with and without them (a test counts); codes that leave its NHWC kernels
    are transposed. `optimization` as for load_session.
    """
    with tempfile.TemporaryDirectory() as folder:
        exposed = Path(folder) / path.name
        onnx.save(with_codes_as_outputs(onnx.load(path)), exposed)
        return load_session(exposed, optimization=optimization)


def run_exposed(session: onnxruntime.InferenceSession, image: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Runs such a session on an image (1, C, H, W) float32: its output, and its codes by address as uint8.

    The codes of int8 activations are those of uint8 less 128, which is undone here.
    """
    names = [output.name for output in session.get_outputs()]
    results = dict(zip(names, session.run(names, {INPUT_NAME: image}), strict=True))
    codes = {name.removesuffix(CODES): _as_uint8(results.pop(name)) for name in names if name.endswith(CODES)}
    (output,) = results.values()
    return output, codes


def _as_uint8(codes: np.ndarray) -> np.ndarray:
    return codes if codes.dtype == np.uint8 else codes.view(np.uint8) ^ np.uint8(128)


def has_signed_activations(graph: onnx.ModelProto) -> bool:
    """Whether the file quantizes activations to int8."""
    outputs = with_codes_as_outputs(graph).graph.output
    return any(o.type.tensor_type.elem_type == onnx.TensorProto.INT8 for o in outputs if o.name.endswith(CODES))
