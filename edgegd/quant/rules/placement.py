"""The placement rules of onnxruntime's CPU provider, the same for every profile: one checkpoint serves them all.

Each rule mirrors what onnxruntime fuses (core/optimizer/qdq_transformer/selectors_actions/) or which kernel is faster.
tests/quant/test_rules_*.py build the smallest graph that shows each of them.
"""

from __future__ import annotations

from collections.abc import Callable

from edgegd.quant.rules.table import ABSORBED, FLOAT, INTEGER, MOVE, HeadPaths, Rule
from edgegd.quant.tracing import TracedOp

_SELECTORS = "core/optimizer/qdq_transformer/selectors_actions/qdq_selectors.cc"
_MOVES = ("max_pool2d", "interpolate", "split", "reshape", "transpose", "slice")


def _is(*operations: str, traced_inputs: int | None = None) -> Callable[[TracedOp, HeadPaths], bool]:
    def applies(op: TracedOp, head: HeadPaths) -> bool:
        return op.operation in operations and traced_inputs in (None, len(op.inputs))

    return applies


def _is_box_convolution(op: TracedOp, head: HeadPaths) -> bool:
    return op.operation == "conv2d" and op.module in head.box_convolutions


def _is_decoding(op: TracedOp, head: HeadPaths) -> bool:
    return bool(head.path) and (op.module == head.path or op.module.startswith(f"{head.path}.dfl"))


PLACEMENT_RULES = (
    Rule(
        "box-convolution", FLOAT,
        "its result is the box in grid cells; 256 codes over a range of many cells would move boxes by pixels",
        "accuracy", _is_box_convolution, weights=True, may_be_integer=True,
    ),
    Rule(
        "decoding", FLOAT,
        "box decoding adds anchors of hundreds of pixels and sorts scores; it is a small part of the time",
        "accuracy", _is_decoding,
    ),
    Rule(
        "convolution", INTEGER,
        "QLinearConv needs input, weight and bias dequantized and its only consumer to quantize",
        f"{_SELECTORS} ConvNodeGroupSelector", _is("conv2d"), weights=True, absorbs=True,
    ),
    Rule(
        "silu", INTEGER,
        "runs as QLinearSigmoid and QLinearMul; the convolution before it fuses only if its own result is quantized",
        f"{_SELECTORS} UnaryNodeGroupSelector, BinaryNodeGroupSelector", _is("silu"), inner=("sigmoid",),
        on_demand=True,
    ),
    Rule(
        "absorbed-relu", ABSORBED,
        "a ReLU before a QuantizeLinear of zero point 0 changes nothing: onnxruntime drops it, and the kernel before "
        "it requantizes to its result",
        "core/optimizer/qdq_transformer/relu_quantizelinear.cc", _is("relu"), non_negative=True,
    ),
    Rule(
        "relu", FLOAT, "what it reads has other readers or is no result of an integer kernel, and there is no "
        "integer ReLU", "core/optimizer/qdq_transformer/relu_quantizelinear.cc", _is("relu"), non_negative=True,
    ),
    Rule(
        "add", INTEGER, "runs as QLinearAdd", f"{_SELECTORS} BinaryNodeGroupSelector", _is("add", traced_inputs=2),
        on_demand=True, absorbs=True, keeps_sign=True,
    ),
    Rule(
        "concat", INTEGER,
        "runs as QLinearConcat, which copies bytes where all scales are equal and looks up every byte where not",
        "contrib_ops/cpu/quantization/qlinear_concat.cc", _is("cat"), ties=True, on_demand=True, keeps_sign=True,
    ),
    Rule(
        "movement", MOVE, "moves 8-bit codes unchanged where both sides have one range",
        f"{_SELECTORS} DropQDQNodeGroupSelector", _is(*_MOVES), ties=True,
    ),
    Rule(
        "softmax", FLOAT,
        "QLinearSoftmax takes seven times the time of the float kernel; its result is left unquantized, or "
        "onnxruntime would fuse it back",
        f"{_SELECTORS} UnaryNodeGroupSelector", _is("softmax"), non_negative=True,
    ),
    Rule(
        "attention", FLOAT, "reads the float result of a softmax, or scales what a softmax reads",
        f"{_SELECTORS} MatMulNodeGroupSelector", _is("matmul", "mul"),
    ),
    Rule("no-rule", FLOAT, "no rule covers the operation {operation}", "none", lambda op, head: True),
)  # fmt: skip
