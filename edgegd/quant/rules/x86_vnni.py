"""Placement rules for onnxruntime's CPU provider on x86 with VNNI: uint8 activations, int8 weights (U8S8).

Each rule mirrors what onnxruntime fuses (core/optimizer/qdq_transformer/selectors_actions/) or which kernel is faster.
"""

from __future__ import annotations

from edgegd.quant.formats import INT8_WEIGHT, UINT8_ACTIVATION
from edgegd.quant.rules.table import FLOAT, INTEGER, MOVE, HeadPaths, Rule, RuleTable
from edgegd.quant.tracing import TracedOp

_SELECTORS = "core/optimizer/qdq_transformer/selectors_actions/qdq_selectors.cc"
_MOVES = {"max_pool2d", "interpolate", "split", "reshape", "transpose", "slice"}


def _is_box_convolution(op: TracedOp, head: HeadPaths) -> bool:
    return op.operation == "conv2d" and op.module in head.box_convolutions


def _is_decoding(op: TracedOp, head: HeadPaths) -> bool:
    return op.module == head.path or op.module.startswith(f"{head.path}.dfl")


X86_VNNI = RuleTable(
    profile="x86-vnni",
    activation=UINT8_ACTIVATION,
    weight=INT8_WEIGHT,
    rules=(
        Rule(
            "box-convolution", FLOAT,
            "its result is the box in grid cells; 256 codes over a range of many cells would move boxes by pixels",
            "accuracy", _is_box_convolution,
        ),
        Rule(
            "decoding", FLOAT,
            "box decoding adds anchors of hundreds of pixels and sorts scores; it is a small part of the time",
            "accuracy", _is_decoding,
        ),
        Rule(
            "convolution", INTEGER,
            "QLinearConv needs input, weight and bias dequantized and its only consumer to quantize",
            f"{_SELECTORS} ConvNodeGroupSelector", lambda op, head: op.operation == "conv2d", weights=True,
        ),
        Rule(
            "silu", INTEGER,
            "runs as QLinearSigmoid and QLinearMul; the convolution before it fuses only if its own result is "
            "quantized",
            f"{_SELECTORS} UnaryNodeGroupSelector, BinaryNodeGroupSelector",
            lambda op, head: op.operation == "silu", inner=("sigmoid",),
        ),
        Rule(
            "add", INTEGER, "runs as QLinearAdd", f"{_SELECTORS} BinaryNodeGroupSelector",
            lambda op, head: op.operation == "add" and len(op.inputs) == 2,
        ),
        Rule(
            "concat", INTEGER,
            "runs as QLinearConcat, which copies bytes where all scales are equal and looks up every byte where not",
            "contrib_ops/cpu/quantization/qlinear_concat.cc", lambda op, head: op.operation == "cat", ties=True,
        ),
        Rule(
            "movement", MOVE, "moves 8-bit codes unchanged where both sides have one range",
            f"{_SELECTORS} DropQDQNodeGroupSelector", lambda op, head: op.operation in _MOVES, ties=True,
        ),
        Rule(
            "softmax", FLOAT,
            "QLinearSoftmax takes seven times the time of the float kernel; its result is left unquantized, or "
            "onnxruntime would fuse it back",
            f"{_SELECTORS} UnaryNodeGroupSelector", lambda op, head: op.operation == "softmax",
        ),
        Rule(
            "attention", FLOAT, "reads the float result of a softmax, or scales what a softmax reads",
            "core/optimizer/qdq_transformer/selectors_actions/qdq_selectors.cc MatMulNodeGroupSelector",
            lambda op, head: op.operation in {"matmul", "mul"},
        ),
        Rule(
            "no-rule", FLOAT, "no rule of this profile covers the operation", "none", lambda op, head: True,
        ),
    ),
)  # fmt: skip
