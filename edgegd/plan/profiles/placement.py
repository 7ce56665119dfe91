"""The placement rules of onnxruntime's CPU provider, the same for every profile: one checkpoint serves them all.

Each rule mirrors what onnxruntime fuses (core/optimizer/qdq_transformer/selectors_actions/) or which kernel is faster.
tests/quant/test_rules_*.py build the smallest graph that shows each of them.
"""

from __future__ import annotations

from collections.abc import Callable

from edgegd.plan.profiles.table import ABSORBED, EXACT, FLOAT, INTEGER, MOVE, HeadPaths, Rule
from edgegd.plan.traced_op import TracedOp

_SELECTORS = "core/optimizer/qdq_transformer/selectors_actions/qdq_selectors.cc"
_RELU = "core/optimizer/qdq_transformer/relu_quantizelinear.cc"
_MOVES = ("max_pool2d", "interpolate", "split", "reshape", "transpose", "slice", "expand")
_ATTENTION = ("matmul", "multi_head_attention_forward", "scaled_dot_product_attention")
_FLOAT_ONLY = (
    "layer_norm",
    "group_norm",
    "gelu",
    "hardswish",
    "hardsigmoid",
    "hardtanh",
    "relu6",
    "grid_sample",
    "conv_transpose2d",
    "interpolate_bilinear",
)


def _is(*operations: str, traced_inputs: int | None = None) -> Callable[[TracedOp, HeadPaths], bool]:
    def applies(op: TracedOp, head: HeadPaths) -> bool:
        return op.operation in operations and traced_inputs in (None, len(op.inputs))

    return applies


def _is_box_convolution(op: TracedOp, head: HeadPaths) -> bool:
    return op.operation == "conv2d" and op.module in head.box_convolutions


def _is_decoding(op: TracedOp, head: HeadPaths) -> bool:
    return bool(head.path) and (op.module == head.path or op.module.startswith(f"{head.path}.dfl"))


def _is_query_decoding(op: TracedOp, head: HeadPaths) -> bool:
    return any(f"{op.module}.".startswith(f"{path}.") for path in head.query_decoders)


PLACEMENT_RULES = (
    Rule(
        "box-convolution",
        FLOAT,
        "its result is the box in grid cells; 256 codes over a range of many cells would move boxes by pixels",
        "accuracy",
        _is_box_convolution,
        weights=True,
        may_be_integer=True,
    ),
    Rule(
        "decoding",
        FLOAT,
        "box decoding adds anchors of hundreds of pixels and sorts scores; it is a small part of the time",
        "accuracy",
        _is_decoding,
    ),
    Rule(
        "query-decoder",
        FLOAT,
        "refines boxes with layer normalization and sampling between pixels, which have no integer kernels",
        "accuracy",
        _is_query_decoding,
    ),
    Rule(
        "convolution",
        INTEGER,
        "QLinearConv needs input, weight and bias dequantized and its only consumer to quantize",
        f"{_SELECTORS} ConvNodeGroupSelector",
        _is("conv2d"),
        weights=True,
        absorbs=True,
    ),
    Rule(
        "silu",
        INTEGER,
        "runs as QLinearSigmoid and QLinearMul; the convolution before it fuses only if its own result is quantized",
        f"{_SELECTORS} UnaryNodeGroupSelector, BinaryNodeGroupSelector",
        _is("silu"),
        inner=("sigmoid",),
        on_demand=True,
    ),
    Rule(
        "absorbed-relu",
        ABSORBED,
        "changes nothing before a QuantizeLinear of zero point 0: onnxruntime drops it, and the kernel before it "
        "requantizes to its result",
        _RELU,
        _is("relu"),
        non_negative=True,
    ),
    Rule(
        "relu",
        FLOAT,
        "there is no integer ReLU, and what it reads is no integer kernel's or has other readers",
        _RELU,
        _is("relu"),
        non_negative=True,
    ),
    Rule(
        "leaky-relu",
        INTEGER,
        "runs as QLinearLeakyRelu",
        f"{_SELECTORS} UnaryNodeGroupSelector",
        _is("leaky_relu"),
        on_demand=True,
        keeps_sign=True,
    ),
    Rule(
        "sigmoid",
        INTEGER,
        "runs as QLinearSigmoid",
        f"{_SELECTORS} UnaryNodeGroupSelector",
        _is("sigmoid"),
        on_demand=True,
        non_negative=True,
    ),
    Rule(
        "add",
        INTEGER,
        "runs as QLinearAdd",
        f"{_SELECTORS} BinaryNodeGroupSelector",
        _is("add", traced_inputs=2),
        on_demand=True,
        keeps_sign=True,
    ),
    Rule(
        "multiply",
        INTEGER,
        "runs as QLinearMul",
        f"{_SELECTORS} BinaryNodeGroupSelector",
        _is("mul", traced_inputs=2),
        on_demand=True,
        keeps_sign=True,
    ),
    Rule(
        "constant-operand",
        FLOAT,
        "onnxruntime fuses arithmetic only where both operands are quantized; one is a constant",
        f"{_SELECTORS} BinaryNodeGroupSelector",
        _is("add", "mul", "sub", "div", traced_inputs=1),
    ),
    Rule(
        "concat",
        INTEGER,
        "runs as QLinearConcat, which copies bytes where all scales are equal and looks up every byte where not",
        "contrib_ops/cpu/quantization/qlinear_concat.cc",
        _is("cat"),
        ties=True,
        on_demand=True,
        keeps_sign=True,
    ),
    Rule(
        "average-pool",
        INTEGER,
        "runs as QLinearAveragePool or QLinearGlobalAveragePool",
        f"{_SELECTORS} UnaryNodeGroupSelector",
        _is("avg_pool2d", "adaptive_avg_pool2d"),
        on_demand=True,
        keeps_sign=True,
    ),
    Rule(
        "movement",
        MOVE,
        "moves 8-bit codes unchanged where both sides have one range",
        f"{_SELECTORS} DropQDQNodeGroupSelector, SplitNodeGroupSelector",
        _is(*_MOVES),
        ties=True,
    ),
    Rule(
        "padding",
        MOVE,
        "adds codes of the value 0, which every range holds exactly; onnxruntime pads in float, "
        "between a DequantizeLinear and a QuantizeLinear",
        "none",
        _is("pad"),
        ties=True,
    ),
    Rule(
        "exact-attention",
        EXACT,
        "its sums are of whole numbers (MatMulInteger), exact in any order, and the constant is part of one scale",
        "core/providers/cpu/quantization/matmul_integer.cc",
        _is("attention_scale", "attention_transpose", "attention_scores"),
    ),
    Rule(
        "exact-softmax",
        EXACT,
        "its exponents are codes of 256 values, the exponentials of which are codes again; not normalized, for the "
        "product after it divides by their sum",
        "core/mlas/lib/compute.cpp",
        _is("attention_softmax"),
        inner=("exponent",),
        fixed_range=True,
    ),
    Rule(
        "exact-values",
        EXACT,
        "two sums of whole numbers (MatMulInteger), divided once",
        "core/providers/cpu/quantization/matmul_integer.cc",
        _is("attention_values"),
    ),
    Rule(
        "softmax",
        FLOAT,
        "QLinearSoftmax takes seven times the time of the float kernel; its result is left unquantized, or "
        "onnxruntime would fuse it back",
        f"{_SELECTORS} UnaryNodeGroupSelector",
        _is("softmax"),
        non_negative=True,
    ),
    Rule(
        "attention",
        FLOAT,
        "reads the float result of a softmax, or makes what a softmax reads",
        f"{_SELECTORS} MatMulNodeGroupSelector",
        _is(*_ATTENTION),
    ),
    Rule(
        "linear",
        FLOAT,
        "stands in transformer layers between normalizations, which have no integer kernel",
        f"{_SELECTORS} GemmNodeGroupSelector, MatMulNodeGroupSelector",
        _is("linear"),
    ),
    Rule(
        "no-integer-kernel",
        FLOAT,
        "onnxruntime's CPU provider has no integer kernel for {operation}",
        _SELECTORS,
        _is(*_FLOAT_ONLY),
    ),
    Rule("no-rule", FLOAT, "no rule covers the operation {operation}", "none", lambda op, head: True),
)
