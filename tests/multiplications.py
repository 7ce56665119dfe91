"""Small graphs of every operator that multiplies 8-bit codes in our files, with extreme weights, and numpy's result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPERATORS = frozenset({"QLinearConv", "MatMulInteger"})
"""A test holds this list against onnxruntime's optimized graphs of our files."""


@dataclass(frozen=True)
class Case:
    """A model of one input `x` (uint8), values for it, and the exact codes or sums of its output."""

    model: onnx.ModelProto
    x: NDArray[np.uint8]
    expected: NDArray[np.generic]


def convolution(
    kernel: int,
    channels: int = 16,
    filters: int = 32,
    groups: int = 1,
    *,
    channels_last: bool = False,
    signed: bool = True,
) -> Case:
    """A QLinearConv of the standard domain on planes, or of onnxruntime's own on (N, H, W, C).

    Pixels of 200 to 255, half of the weights 127 and half -127, neighbours alike: sums of two products leave 16 bits,
    the whole sum does not leave the range of the codes.
    """
    random = np.random.default_rng(0)
    x = random.integers(200, 256, (1, channels, 12, 12)).astype(np.uint8)
    weights = np.zeros((filters, channels // groups, kernel, kernel), np.int64)
    if (half := channels // groups // 2) > 1:
        weights[:, :half], weights[:, half:] = 127, -127
    else:
        weights[:, :, 0], weights[:, :, -1] = 127, -127
    weights[::2] *= -1
    sums = _convolve(x.astype(np.int64), weights, groups)
    divisor = 2.0 ** np.ceil(np.log2(np.abs(sums).max() / 118))  # a power of two, by which float32 divides exactly
    codes = np.clip(np.rint(sums / divisor) + 128, 0, 255).astype(np.uint8)
    assert codes.min() > 8 and codes.max() < 247  # an error of the sum is not hidden by the end of the range
    shift, kind = (0, np.int8) if signed else (128, np.uint8)
    constants = {
        "x_scale": np.float32(1),
        "x_zero": np.uint8(0),
        "w": (weights + shift).astype(kind),
        "w_scale": np.ones(filters, np.float32),
        "w_zero": np.full(filters, shift, kind),
        "y_scale": np.float32(divisor),
        "y_zero": np.uint8(128),
    }
    attributes = {"domain": "com.microsoft", "channels_last": 1} if channels_last else {}
    node = helper.make_node("QLinearConv", ["x", *constants], ["y"], group=groups, **attributes)
    if channels_last:
        x, codes = (np.ascontiguousarray(array.transpose(0, 2, 3, 1)) for array in (x, codes))
    return Case(_model(node, x, constants, TensorProto.UINT8), x, codes)


def matrix_product() -> Case:
    """The product of two computed matrices, as in an exact attention: MatMulInteger of uint8 and uint8."""
    random = np.random.default_rng(1)
    x = random.integers(200, 256, (1, 48, 64)).astype(np.uint8)
    other = random.integers(200, 256, (1, 64, 40)).astype(np.uint8)
    node = helper.make_node("MatMulInteger", ["x", "other"], ["y"])
    sums = x.astype(np.int64) @ other.astype(np.int64)
    return Case(_model(node, x, {"other": other}, TensorProto.INT32), x, sums.astype(np.int32))


CASES: dict[str, Callable[[], Case]] = {
    "3x3": lambda: convolution(3),
    "1x1": lambda: convolution(1, 64),
    "few-channels": lambda: convolution(3, 3, 8),
    "depthwise": lambda: convolution(3, 32, 32, 32),
    "grouped": lambda: convolution(3, 32, 32, 4),
    "3x3-channels-last": lambda: convolution(3, channels_last=True),
    "1x1-channels-last": lambda: convolution(1, 64, channels_last=True),
    "few-channels-channels-last": lambda: convolution(3, 3, 8, channels_last=True),
    "depthwise-channels-last": lambda: convolution(3, 32, 32, 32, channels_last=True),
    "attention": matrix_product,
}


def _convolve(x: NDArray[np.int64], weights: NDArray[np.int64], groups: int) -> NDArray[np.int64]:
    """(1, C, H, W) by (F, C / groups, k, k), without padding -> (1, F, H - k + 1, W - k + 1)."""
    kernel = weights.shape[-1]
    windows = np.lib.stride_tricks.sliding_window_view(x[0], (kernel, kernel), (1, 2))  # (C, H', W', k, k)
    parts = [
        np.einsum("chwij,fcij->fhw", *pair)
        for pair in zip(np.split(windows, groups), np.split(weights, groups), strict=True)
    ]
    return np.concatenate(parts)[None]


def _model(node: onnx.NodeProto, x: NDArray[np.uint8], constants: dict[str, object], result: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        [node],
        "multiplication",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, x.shape)],
        [helper.make_tensor_value_info("y", result, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, ir_version=8, opset_imports=opsets)
