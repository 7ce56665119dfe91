"""Whether an edge file computes the bits of the portable file that it was made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime

from edgegd.errors import ParityError
from edgegd.runtime.contract import INPUT_NAME, OUTPUT_NAME, Preprocessing
from edgegd.runtime.letterbox import letterbox
from edgegd.verify.opened import OnnxFile, Picture, Pictures


@dataclass(frozen=True)
class EdgeIdentity:
    """The images on which both files gave the same bits, and how many numbers were compared."""

    images: int
    numbers: int


def require_identical(portable: OnnxFile, edge: OnnxFile, pictures: Pictures) -> EdgeIdentity:
    """Runs both files, optimized, in exact sessions on real images and compares their outputs bit for bit.

    Files with int8 activations run as they are: on x86 QLinearAdd of int8 rounds some ties otherwise than that of
    uint8. Raises ParityError with the first image on which they differ.
    """
    signed = portable.has_signed_activations
    first, second = (portable.signed, edge.session) if signed else (portable.exact, edge.exact)
    taken = edge.contract.preprocessing
    numbers = 0
    for picture in pictures.of(portable.contract.preprocessing):
        expected = _run(first, picture.network_input)
        found = _run(second, _input(picture, taken))
        if expected.shape != found.shape or expected.tobytes() != found.tobytes():
            differing = int((expected != found).sum()) if expected.shape == found.shape else expected.size
            raise ParityError(
                f"{edge.name} computes other numbers than {portable.name} on {picture.path.name}.",
                expected="equal bits",
                found=f"{differing} of {expected.size} numbers differ",
                mend="use the portable file and report this with both: a pass is not exact on this machine",
            )
        numbers += expected.size
    return EdgeIdentity(len(pictures), numbers)


def _run(session: onnxruntime.InferenceSession, image: np.ndarray) -> np.ndarray:
    output: np.ndarray = session.run([OUTPUT_NAME], {INPUT_NAME: image})[0]
    return output


def _input(picture: Picture, preprocessing: Preprocessing) -> np.ndarray:
    # A plan whose first convolution is float leaves the pass uint8-input nothing to fold: the edge file takes floats.
    if preprocessing.dtype == "float32":
        return picture.network_input
    padded, _ = letterbox(picture.pixels, preprocessing)
    return padded[None]
