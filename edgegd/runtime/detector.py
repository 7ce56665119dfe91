"""The detector a device runs: an image in, boxes in the image's own pixels out."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from edgegd.device.profile import SATURATING, is_signed, this_machine
from edgegd.device.threads import ThreadSetting, bind
from edgegd.errors import OutputContractError
from edgegd.runtime.contract import INPUT_NAME, OUTPUT_NAME, ModelContract
from edgegd.runtime.decode import decode_end2end, decode_queries, decode_raw
from edgegd.runtime.letterbox import LetterboxGeometry, PixelInput, preprocess
from edgegd.runtime.recommended import conf_of
from edgegd.runtime.session import read_contract
from edgegd.runtime.tuned import open_session, read_tuned, setting_of


@dataclass(frozen=True)
class Detections:
    """What was found in one image, best score first.

    `xyxy` (N, 4) float32 in pixels of the original image, `scores` (N,) float32 in 0..1, `class_ids` (N,) int64 indices
    into `names`.
    """

    xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.scores)

    def to_dict(self) -> dict[str, Any]:
        """The detections as plain lists, numbers and strings, ready for `json.dumps`."""
        rows = zip(self.xyxy.tolist(), self.scores.tolist(), self.class_ids.tolist(), strict=True)
        return {
            "detections": [
                {"xyxy": box, "score": score, "class_id": class_id, "name": self.names[class_id]}
                for box, score, class_id in rows
            ]
        }


def detections_from_output(
    output: NDArray[np.float32],
    contract: ModelContract,
    geometry: LetterboxGeometry,
    *,
    conf: float = 0.25,
    iou: float = 0.7,
    max_det: int = 300,
    multi_label: bool = False,
    clip: bool = True,
) -> Detections:
    """The detections in one output of a model with this contract, wherever the output was computed.

    `output` has the contract's shape; `geometry` is the one `preprocess` returned. `conf` is the score a detection must
    exceed; `iou` and `multi_label` matter for raw outputs only (see `decode_raw`). `clip` cuts boxes at the image's
    border.

    Raises:
        OutputContractError: the output has another shape.
    """
    if output.shape != contract.output.shape:
        raise OutputContractError(
            "a model's output has another shape than its contract says",
            expected=f"{contract.output.kind} {contract.output.shape}",
            found=str(output.shape),
        )
    output = output.astype(np.float32, copy=False)
    if contract.output.kind == "end2end":
        decoded = decode_end2end(output, conf=conf, max_det=max_det)
    elif contract.output.kind == "queries":
        decoded = decode_queries(output, imgsz=contract.preprocessing.imgsz, conf=conf, max_det=max_det)
    else:
        decoded = decode_raw(output, conf=conf, iou=iou, max_det=max_det, multi_label=multi_label)
    known = (decoded.class_ids >= 0) & (decoded.class_ids < len(contract.names))
    if not known.all():
        raise OutputContractError(
            "a model detects a class that it does not have",
            expected=f"ids 0 to {len(contract.names) - 1}",
            found=str(int(decoded.class_ids[~known][0])),
            mend="export the model again; its metadata was edited",
        )
    return Detections(geometry.to_original(decoded.boxes, clip=clip), decoded.scores, decoded.class_ids, contract.names)


@dataclass(frozen=True)
class Timings:
    """Milliseconds that the steps from an image in memory to its boxes took, by a monotonic clock.

    `letterbox_ms`: from the image to the network's input; `inference_ms`: onnxruntime; `postprocess_ms`: from its
    output to boxes in the image's pixels.
    """

    letterbox_ms: float
    inference_ms: float
    postprocess_ms: float


class ProfileWarning(UserWarning):
    """This CPU computes other numbers for a file than the CPUs that it was exported for."""


def warn_of_saturation(path: str | Path, contract: ModelContract) -> None:
    """ProfileWarning where this CPU's kernels saturate with the file's weights."""
    # An edge file of int8 activations runs in kernels that sum in 32 bits; x86 turns a portable one into uint8.
    signed_edge = is_signed(contract.profile) and contract.preprocessing.takes_pixels
    if contract.profile not in ("", SATURATING) and not signed_edge and this_machine().profile == SATURATING:
        warnings.warn(
            f"{path} is for {contract.profile} CPUs: this one has no VNNI, so sums saturate at 16 bits and boxes will "
            f"differ. Export the file for this CPU: `edgegd export RUN_DIR --profile {SATURATING}`",
            ProfileWarning,
            stacklevel=3,
        )


class Detector:
    """An edgegd ONNX model, portable or edge, in onnxruntime, called with one image at a time, from one thread.

    `conf`, `iou`, `max_det`, `multi_label` and `clip` are those of `detections_from_output`; `conf` "recommended" is
    the threshold that the file carries (`runtime/recommended.py`). `threads` is a number, a
    ThreadSetting, or "tuned": what `edgegd latency tune` found best for latency on this machine (`runtime/tuned.py`);
    where it names cores, the calling thread is bound to them too, for good. `spinning` None lets several threads spin
    while an inference runs, without which they gain little; between inferences none ever does. `session` is one of this
    file that was opened otherwise. The checked contract is in `.contract`, the setting in `.threads`. An edge file's
    image is letterboxed straight into the network's uint8 input, which is kept from call to call. Warns
    (ProfileWarning) where this CPU computes the file otherwise than the CPUs it is for.

    Raises (on construction):
        OnnxUnreadableError, MetadataError, OutputContractError: see `load_model`.
        TuningError: there are no tuned threads for this machine, or it has not their cores.
        MetadataError: also, the file recommends no threshold.
        ValueError: `threads` or `conf` is none of these, or `spinning` is given beside a setting.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        conf: float | str = 0.25,
        iou: float = 0.7,
        max_det: int = 300,
        threads: int | str | ThreadSetting = 1,
        spinning: bool | None = None,
        multi_label: bool = False,
        clip: bool = True,
        session: InferenceSession | None = None,
    ) -> None:
        self.threads = setting_of(threads, spinning, lambda: read_tuned(path).latency)
        self.session = open_session(path, self.threads) if session is None else session
        self.contract = read_contract(self.session, path)
        if session is None:
            warn_of_saturation(path, self.contract)
            bind(self.threads.cores)
        self.conf = conf_of(conf, self.session, path)
        self.iou, self.max_det, self.multi_label, self.clip = iou, max_det, multi_label, clip
        takes_pixels = self.contract.preprocessing.takes_pixels
        self._pixels = PixelInput(self.contract.preprocessing) if takes_pixels else None

    def __call__(self, image: NDArray[np.uint8]) -> Detections:
        """The detections in an image (H, W, C) uint8 of the channels that the model takes; three are in BGR.

        Raises:
            ValueError: the image has another type or shape.
            MissingExtraError: OpenCV is not installed.
        """
        return self.timed(image)[0]

    def timed(self, image: NDArray[np.uint8]) -> tuple[Detections, Timings]:
        """The detections as a call gives them, and how long each step took; errors as a call."""
        start_ns = time.perf_counter_ns()
        network_input, geometry = self._input(image)
        prepared_ns = time.perf_counter_ns()
        output = self.session.run([OUTPUT_NAME], {INPUT_NAME: network_input})[0]
        inferred_ns = time.perf_counter_ns()
        found = detections_from_output(
            output,
            self.contract,
            geometry,
            conf=self.conf,
            iou=self.iou,
            max_det=self.max_det,
            multi_label=self.multi_label,
            clip=self.clip,
        )
        moments_ns = (start_ns, prepared_ns, inferred_ns, time.perf_counter_ns())
        return found, Timings(*((end - begin) / 1e6 for begin, end in pairwise(moments_ns)))

    def _input(self, image: NDArray[np.uint8]) -> tuple[NDArray[Any], LetterboxGeometry]:
        if self._pixels is None:
            return preprocess(image, self.contract.preprocessing)
        geometry = self._pixels.fill(image)
        return self._pixels.array, geometry
