"""The parity ladder: torch float -> torch fake-quantized -> onnxruntime unoptimized -> onnxruntime optimized.

A float sum next to a half-way value decides a code, and one code decides thousands after it, so two correct runs of a
deep network may drift apart. Errors are therefore looked for from equal inputs: torch repeats every operation on the
codes that onnxruntime computed before it, and may differ by what one operation can. Run by itself, a side is compared
as well: that shows what a user will see, and it is held to a bar where both sides do the same integer arithmetic.

onnxruntime without optimization dequantizes, convolves in float32 and quantizes again; its optimized graph, like torch
here, sums integers. So the former rounds a few sums next to a half-way value otherwise, and the latter none.
Between the two onnxruntime graphs torch is the judge: each is compared with it from its own inputs.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import onnxruntime

from edgegd.plan.quant_plan import QuantPlan
from edgegd.quant.attach import QuantizedModel
from edgegd.runtime.detector import Detections, detections_from_output
from edgegd.signal_to_noise import decibel
from edgegd.verify.code_parity import CodeComparison, CodeParity
from edgegd.verify.inner_tensors import run_exposed
from edgegd.verify.open_model import OpenModel
from edgegd.verify.opened import OnnxFile, Pictures
from edgegd.verify.parity import BoxComparison, Parity, Tolerance

FLOAT, FAKE_QUANTIZED = "torch float", "torch fake-quantized"
UNOPTIMIZED, OPTIMIZED = "onnxruntime unoptimized", "onnxruntime optimized"
RUNGS = (FLOAT, FAKE_QUANTIZED, UNOPTIMIZED, OPTIMIZED)
# From equal codes only the float decoding of boxes is left: float32 sums in another order. Scores made of equal codes
# are equal, and which of them a top-k keeps is up to the runtime: hence the share.
BOXES_FROM_EQUAL_INPUTS = Tolerance(shift_px=0.05, score_change=1e-3, agreeing_share=0.95)


@dataclass(frozen=True)
class Step:
    """Two rungs compared, each run by itself, over all images: boxes, and codes where both have them."""

    below: str
    above: str
    boxes: Parity
    codes: CodeParity | None


@dataclass(frozen=True)
class OneOperation:
    """A rung of onnxruntime against torch, which does every operation on this rung's own codes."""

    rung: str
    codes: CodeParity
    boxes: Parity


@dataclass(frozen=True)
class Ladder:
    """What `climb` measured.

    `steps` are from rung to rung, and last from torch fake-quantized straight to onnxruntime optimized, the pair that
    must agree as a whole. `sqnr_db` is the signal over the quantization noise (its own and that of everything before
    it) of every tensor between the first two rungs, in running order.
    """

    images: int
    sqnr_db: dict[str, float]
    steps: tuple[Step, ...]
    one_operation: tuple[OneOperation, ...]

    @property
    def median_sqnr_db(self) -> float:
        """The median over all tensors."""
        return round(statistics.median(self.sqnr_db.values()), 2)

    @property
    def whole(self) -> Step:
        """torch fake-quantized against onnxruntime optimized."""
        return self.steps[-1]

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict."""
        return {
            "images": self.images,
            "steps": [
                {
                    "below": step.below,
                    "above": step.above,
                    "boxes": dataclasses.asdict(step.boxes),
                    "codes": step.codes and step.codes.to_json(),
                }
                for step in self.steps
            ],
            "one_operation": [
                {"rung": one.rung, "boxes": dataclasses.asdict(one.boxes), "codes": one.codes.to_json()}
                for one in self.one_operation
            ],
            "median_sqnr_db": self.median_sqnr_db,
            "sqnr_db": self.sqnr_db,
        }


def climb(quantized: QuantizedModel, file: OnnxFile, pictures: Pictures) -> Ladder:
    """Runs `quantized` (on the CPU) and the file exported from it on all rungs of the ladder.

    The file's codes are uint8 or int8; ValueError where there is no image.
    """
    contract = file.portable_contract
    sessions = {UNOPTIMIZED: file.with_codes("disabled"), OPTIMIZED: file.with_codes()}
    ladder, model = _Sums(quantized.plan), OpenModel(quantized)
    for _, _, image, geometry in pictures.of(contract.preprocessing):
        outputs = ladder.add(model, sessions, image)
        ladder.add_boxes(
            {name: detections_from_output(output, contract, geometry, conf=0.0) for name, output in outputs.items()}
        )
    return ladder.result(len(pictures))


class _Sums:
    def __init__(self, plan: QuantPlan) -> None:
        self._pairs = [*pairwise(RUNGS), (FAKE_QUANTIZED, OPTIMIZED)]
        self._boxes = {pair: BoxComparison() for pair in self._pairs}
        self._codes = {pair: CodeComparison(plan) for pair in self._pairs[1:]}
        self._equal_inputs = {rung: CodeComparison(plan) for rung in RUNGS[2:]}
        self._equal_inputs_boxes = {rung: BoxComparison(BOXES_FROM_EQUAL_INPUTS) for rung in RUNGS[2:]}
        self._power: dict[str, tuple[float, float]] = {}  # address -> sums of squares of signal and noise

    def add(
        self, model: OpenModel, sessions: Mapping[str, onnxruntime.InferenceSession], image: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Compares the tensors of one image; returns the outputs by rung, and by "torch on RUNG's codes"."""
        outputs, codes = {}, {}
        outputs[FAKE_QUANTIZED], codes[FAKE_QUANTIZED] = model.quantized(image)
        tensors = codes[FAKE_QUANTIZED].keys()
        outputs[FLOAT] = model.in_float(
            image, lambda address, value: self._add_noise(model, address, value, codes[FAKE_QUANTIZED])
        )
        for rung, session in sessions.items():
            outputs[rung], codes[rung] = run_exposed(session, image)
            repeated, in_torch = outputs[FAKE_QUANTIZED], codes[FAKE_QUANTIZED]
            if any(not np.array_equal(in_torch[address], codes[rung][address]) for address in tensors):
                repeated, in_torch = model.one_operation(image, codes[rung])
            outputs[_on_codes_of(rung)] = repeated
            for address in tensors:
                self._equal_inputs[rung].add(address, in_torch[address], codes[rung][address])
        for (below, above), comparison in self._codes.items():
            for address in tensors:
                comparison.add(address, codes[below][address], codes[above][address])
        return outputs

    def _add_noise(self, model: OpenModel, address: str, value: np.ndarray, codes: Mapping[str, np.ndarray]) -> None:
        if address in codes:
            signal, noise = self._power.get(address, (0.0, 0.0))
            error = value - model.dequantize(address, codes[address])
            self._power[address] = signal + _sum_of_squares(value), noise + _sum_of_squares(error)

    def add_boxes(self, detections: Mapping[str, Detections]) -> None:
        """Compares the detections of one image, by the names that `add` gives."""
        for (below, above), comparison in self._boxes.items():
            comparison.add(detections[below], detections[above])
        for rung, comparison in self._equal_inputs_boxes.items():
            comparison.add(detections[_on_codes_of(rung)], detections[rung])

    def result(self, images: int) -> Ladder:
        """All sums as one ladder."""
        return Ladder(
            images,
            {address: round(decibel(*power), 2) for address, power in self._power.items()},
            tuple(
                Step(*pair, self._boxes[pair].result(), self._codes[pair].result() if pair in self._codes else None)
                for pair in self._pairs
            ),
            tuple(
                OneOperation(rung, codes.result(), self._equal_inputs_boxes[rung].result())
                for rung, codes in self._equal_inputs.items()
            ),
        )


def _on_codes_of(rung: str) -> str:
    return f"torch on the codes of {rung}"


def _sum_of_squares(values: np.ndarray) -> float:
    flat = values.ravel()
    return float(np.dot(flat, flat))
