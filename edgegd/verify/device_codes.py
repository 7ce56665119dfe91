"""The codes that a device computes inside a file against this machine's, by hash; values only where these differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from edgegd.addresses import address_of_codes
from edgegd.device.tensor_worker import canonical, network_input
from edgegd.export.graph_forms import code_names, with_codes_as_outputs
from edgegd.export.load_onnx import load_onnx
from edgegd.progress import Progress
from edgegd.runtime.contract import OUTPUT_NAME, ModelContract, Preprocessing
from edgegd.targets.base import Target
from edgegd.targets.tensor_protocol import DeliveredImage, RemoteModel, TensorHash, differing, opened
from edgegd.verify.emulated import unsigned_form
from edgegd.verify.exact_session import load_exact

Image = tuple[np.ndarray, DeliveredImage]
"""A letterboxed image (h, w, C) uint8 here, and the same on the target."""


@dataclass(frozen=True)
class FirstDifference:
    """The first tensor in the order of the graph whose codes differ, on the first image on which it does.

    `differing` of its `codes` differ, by `largest_distance` at the most.
    """

    address: str
    image: int
    codes: int
    differing: int
    largest_distance: int


@dataclass(frozen=True)
class DeviceCodes:
    """One file on a device against this machine, over images: the integer codes of `tensors` quantized activations.

    `differing` of them differ on some image. `equal_outputs`: every number of the output is the same. `undisturbed`:
    the file computes the same output with its codes as further outputs as without, on the device.
    """

    images: int
    tensors: int
    differing: int
    first: FirstDifference | None
    equal_outputs: bool
    undisturbed: bool

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict of every field."""
        return asdict(self)


def input_form(preprocessing: Preprocessing) -> dict[str, Any]:
    """How a letterboxed image becomes a model's input, as edgegd.device.tensor_worker.network_input takes it."""
    if preprocessing.takes_pixels:
        return {"dtype": "uint8", "channels": preprocessing.channels}
    return {
        "dtype": "float32",
        "channels": preprocessing.channels,
        "reversed": preprocessing.channel_order == "rgb",
        "divisor": 1 / preprocessing.scale,
    }


def compare_codes(
    path: Path, images: Sequence[Image], plain: Sequence[str], target: Target, scratch: Path, progress: Progress
) -> DeviceCodes:
    """Runs a quantized file on real images in an exact session here, and as it is on the target.

    `plain` are the hashes (TensorHash) of the outputs that the file itself computed for these images on the target.
    int8 codes count as the uint8 codes that stand for the same number, and the reference of a file that has them is its
    uint8 form. `scratch` holds what is delivered. Raises the errors of loading a file and of
    edgegd.targets.worker_protocol.ask.
    """
    graph = load_onnx(path)
    contract = ModelContract.from_metadata({prop.key: prop.value for prop in graph.metadata_props})
    form, names = input_form(contract.preprocessing), code_names(graph)
    exposed = scratch / f"codes-{path.name}"
    onnx.save(with_codes_as_outputs(graph), exposed)
    reference = unsigned_form(path, graph)
    plain_here, exposed_here = load_exact(reference), load_exact(with_codes_as_outputs(reference))
    differ: set[str] = set()
    first: FirstDifference | None = None
    outputs_here: list[str] = []
    outputs_there: list[str] = []
    with opened(target, target.deliver(exposed), _sha256(exposed), threads=1) as model:
        for index, (pixels, delivered) in enumerate(images):
            progress.update(index, len(images), f"codes of {path.name} on {target.name}")
            feed = network_input(pixels, form)
            here = _run(exposed_here, feed)
            there = model.compute(delivered, form).tensors
            outputs_here.append(TensorHash.of(_run(plain_here, feed)[OUTPUT_NAME]).sha256)
            outputs_there.append(there[OUTPUT_NAME].sha256 if OUTPUT_NAME in there else "")
            found = differing({name: TensorHash.of(here[name]) for name in names}, there, names)
            if found and (first is None or names.index(found[0]) < names.index(first.address)):
                first = _difference(found[0], index, here, there, model)
            differ.update(found)
    return DeviceCodes(
        images=len(images),
        tensors=len(names),
        differing=len(differ),
        first=None if first is None else _addressed(first),
        equal_outputs=list(plain) == outputs_here,
        undisturbed=list(plain) == outputs_there,
    )


def _difference(
    name: str, image: int, here: Mapping[str, np.ndarray], there: Mapping[str, TensorHash], model: RemoteModel
) -> FirstDifference:
    """How far a tensor of the image computed last is from this machine's; one of another shape differs as a whole."""
    ours = canonical(here[name])
    told = there.get(name)
    if told is None or (told.dtype, told.shape) != (str(ours.dtype), ours.shape):
        return FirstDifference(name, image, ours.size, ours.size, 255)
    theirs = model.values({name: told})[name]
    distance = np.maximum(ours, theirs) - np.minimum(ours, theirs)  # no overflow in uint8
    return FirstDifference(name, image, ours.size, int(np.count_nonzero(distance)), int(distance.max(initial=0)))


def _addressed(first: FirstDifference) -> FirstDifference:
    return FirstDifference(**{**asdict(first), "address": address_of_codes(first.address) or first.address})


def _run(session: onnxruntime.InferenceSession, feed: np.ndarray) -> dict[str, np.ndarray]:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: feed}), strict=True))


def _sha256(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
