"""Whether an edge file computes the bits of the portable file that it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from edgegd.errors import ParityError
from edgegd.export.exact_session import load_exact
from edgegd.export.graph_forms import has_signed_activations
from edgegd.export.load_onnx import load_onnx
from edgegd.runtime.contract import INPUT_NAME, OUTPUT_NAME, Preprocessing
from edgegd.runtime.images import read_for
from edgegd.runtime.letterbox import letterbox, preprocess
from edgegd.runtime.session import load_session, read_contract


@dataclass(frozen=True)
class EdgeIdentity:
    """The images on which both files gave the same bits, and how many numbers were compared."""

    images: int
    numbers: int


def require_identical(portable: Path, edge: Path, image_paths: Sequence[Path]) -> EdgeIdentity:
    """Runs both files, optimized, in exact sessions on real images and compares their outputs bit for bit.

    Files with int8 activations run as they are: on x86 QLinearAdd of int8 rounds some ties otherwise than that of
    uint8. Raises ParityError with the first image on which they differ.
    """
    if has_signed_activations(load_onnx(portable)):
        first, second = load_session(portable, signed_activations=True), load_session(edge)
    else:
        first, second = load_exact(portable), load_exact(edge)
    wanted, taken = (read_contract(*pair).preprocessing for pair in ((first, portable), (second, edge)))
    numbers = 0
    for path in image_paths:
        image = read_for(path, wanted)
        expected = _run(first, preprocess(image, wanted)[0])
        found = _run(second, _input(image, taken))
        if expected.shape != found.shape or expected.tobytes() != found.tobytes():
            differing = int((expected != found).sum()) if expected.shape == found.shape else expected.size
            raise ParityError(
                f"{edge.name} computes other numbers than {portable.name} on {path.name}.",
                expected="equal bits",
                found=f"{differing} of {expected.size} numbers differ",
                mend="use the portable file and report this with both: a pass is not exact on this machine",
            )
        numbers += expected.size
    return EdgeIdentity(len(image_paths), numbers)


def _run(session: onnxruntime.InferenceSession, image: np.ndarray) -> np.ndarray:
    output: np.ndarray = session.run([OUTPUT_NAME], {INPUT_NAME: image})[0]
    return output


def _input(image: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    # A plan whose first convolution is float leaves the pass uint8-input nothing to fold: the edge file takes floats.
    if preprocessing.dtype == "float32":
        return preprocess(image, preprocessing)[0]
    padded, _ = letterbox(image, preprocessing)
    return padded[None]
