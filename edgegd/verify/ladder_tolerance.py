"""What a parity ladder must keep, and the error that names the first tensor where it does not."""

from __future__ import annotations

from dataclasses import dataclass

from edgegd.errors import ParityError
from edgegd.plan.quant_plan import QuantPlan
from edgegd.verify.code_parity import CodeTolerance
from edgegd.verify.ladder import BOXES_FROM_EQUAL_INPUTS, FAKE_QUANTIZED, FLOAT, Ladder, OneOperation
from edgegd.verify.parity import Tolerance, require_agreement, require_detections

_CODES, _BOXES = CodeTolerance(), Tolerance()
_BOXES_PAST_FLOAT_SUMS = Tolerance(agreeing_share=0.7)
_REPORT = "sessions are exact on every CPU, so the export or this onnxruntime is wrong: report it with verify.json"


@dataclass(frozen=True)
class LadderTolerance:
    """The bars, each with its reason.

    `median_sqnr_db` (torch float -> fake-quantized): half of the tensors hold more signal than quantization noise; less
    is no quantization of the model any more. Loose, because ranges chosen badly are no error of the export.
    `codes` (fake-quantized -> unoptimized, unoptimized -> optimized, from equal inputs): one operation on equal codes
    can only round a value next to a half-way value to the other side. 0.9999995 of codes were equal without
    optimizations (float32 sums), all but one in 10^8 with them.
    `boxes_from_equal_inputs` (the same steps): from equal codes only the float decoding of boxes is left.
    `boxes` (fake-quantized -> optimized, each by itself): both sum integers; a code that a float part (RT-DETR's
    transformer) rounds otherwise disturbs that image's weak boxes, all other images agree. The unoptimized graph by
    itself has no bar: after a hundred layers of float sums 10 to 20 % of its codes differ, by chance.
    `boxes_past_float_sums` (the same step): a search or a recipe made early convolutions float, and integer ones read
    their results. A few codes in a million then differ in the first of them, and every layer after it disturbs more
    (YOLO26n: 93 % of the detections agreed at 320 px, 83 % at 64 px). What is wrong with an operation is found from
    equal inputs; here is only seen that the files detect the same things.
    """

    median_sqnr_db: float = 0.0
    codes: CodeTolerance = _CODES
    boxes_from_equal_inputs: Tolerance = BOXES_FROM_EQUAL_INPUTS
    boxes: Tolerance = _BOXES
    boxes_past_float_sums: Tolerance = _BOXES_PAST_FLOAT_SUMS


def require_ladder(ladder: Ladder, plan: QuantPlan, name: str, tolerance: LadderTolerance | None = None) -> None:
    """Holds a ladder to its bars; `name` is the file's.

    Raises:
        SilentModelError: the file detects nothing.
        ParityError: a bar is broken; the message names the first tensor that diverges, and the rule behind it.
    """
    tolerance = tolerance or LadderTolerance()
    require_detections(ladder.whole.boxes, name)
    for one in ladder.one_operation:
        _require_one_operation(one, name, tolerance)
    whole = ladder.whole.codes
    first = f"; the first tensor that differs is {whole.differing[0]}" if whole and whole.differing else ""
    require_agreement(
        ladder.whole.boxes,
        f"{name}: torch under fake quantization and onnxruntime disagree.",
        tolerance.boxes_past_float_sums if plan.float_sums_become_codes() else tolerance.boxes,
        detail=first,
        mend=_REPORT,
    )
    if ladder.median_sqnr_db < tolerance.median_sqnr_db:
        rules = {tensor.address: f"rule {tensor.rule}: {tensor.reason}" for tensor in plan.tensors}
        address, sqnr_db = next((a, db) for a, db in ladder.sqnr_db.items() if db < tolerance.median_sqnr_db)
        raise ParityError(
            f"{name}: quantization leaves more noise than signal.",
            expected=f"a median signal-to-noise ratio of {tolerance.median_sqnr_db} dB over all tensors, {FLOAT} "
            f"against {FAKE_QUANTIZED}",
            found=f"{ladder.median_sqnr_db} dB; the first tensor below is {address} with {sqnr_db} dB "
            f"({rules[address]})",
            mend="calibrate on images like those it is to see (quant.calibration_images), choose another "
            "quant.observer, or leave operations float (quant.float)",
        )


def _require_one_operation(one: OneOperation, name: str, tolerance: LadderTolerance) -> None:
    beyond = one.codes.first_beyond(tolerance.codes)
    if beyond is not None:
        raise ParityError(
            f"{name}: torch and {one.rung} differ in {beyond.address} after one operation on equal codes.",
            expected=str(tolerance.codes),
            found=f"{beyond}; {one.codes.equal_share:.4%} of all codes equal",
            mend=_REPORT,
        )
    require_agreement(
        one.boxes,
        f"{name}: torch and {one.rung} make other detections of equal codes.",
        tolerance.boxes_from_equal_inputs,
        mend="report it with verify.json: the float operations that decode the boxes were exported wrongly",
    )
