"""One operation of a traced model, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TracedOp:
    """One operation of the deployed forward pass.

    `inputs` are the addresses of the operations that made its tensor arguments (`input` for the image; parameters and
    constants do not appear); `shape` is the shape of its first output; `module` the module that owns the call.
    `operation` is the one in the address, but `functional_conv2d` for a convolution that no nn.Conv2d calls. `numbers`
    are the numbers among its arguments: a constant operand, the axes of a transpose, the axis of a softmax.
    """

    address: str
    operation: str
    module: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    numbers: tuple[float, ...] = ()
