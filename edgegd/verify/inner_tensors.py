"""The integer codes that onnxruntime computes inside an exported file."""

from __future__ import annotations

import numpy as np
import onnxruntime

from edgegd.addresses import address_of_codes
from edgegd.runtime.contract import INPUT_NAME


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
