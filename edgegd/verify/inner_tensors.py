"""The integer codes that onnxruntime computes inside an exported file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from edgegd.addresses import address_of_codes
from edgegd.export.graph_forms import with_codes_as_outputs
from edgegd.export.load_onnx import load_onnx
from edgegd.runtime.contract import INPUT_NAME
from edgegd.runtime.session import load_session
from edgegd.verify.exact_session import load_exact


def load_exposed(path: Path, *, optimization: str = "all") -> onnxruntime.InferenceSession:
    """A session of the file with the codes of all quantized activations as further outputs.

    onnxruntime fuses the same integer kernels with and without them (a test counts); codes that leave its NHWC kernels
    are transposed. With all optimizations the session is exact; with fewer (as for load_session) convolutions are
    float.
    """
    exposed = with_codes_as_outputs(load_onnx(path))
    if optimization == "all":
        return load_exact(exposed)
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(exposed, Path(folder) / path.name)
        return load_session(Path(folder) / path.name, optimization=optimization)


def run_exposed(session: onnxruntime.InferenceSession, image: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Runs such a session on an image (1, C, H, W) float32: its output, and its codes by address as uint8.

    The codes of int8 activations are those of uint8 less 128, which is undone here.
    """
    names = [output.name for output in session.get_outputs()]
    results = dict(zip(names, session.run(names, {INPUT_NAME: image}), strict=True))
    codes = {address: _as_uint8(results.pop(name)) for name in names if (address := address_of_codes(name))}
    (output,) = results.values()
    return output, codes


def _as_uint8(codes: np.ndarray) -> np.ndarray:
    return codes if codes.dtype == np.uint8 else codes.view(np.uint8) ^ np.uint8(128)
