"""Concat that puts together what was taken apart: the tensor from before serves as it is.

C2f and C3k2 split the first convolution's channels in two, work on the second half and concatenate both halves with
what they made of it. In (1, H, W, C) a Concat copies one short row of channels a pixel and input: two neighbouring
inputs that are neighbouring parts of one tensor are one longer row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from edgegd.export.passes.base import ExactPass, numbers, shape_of


class _Part(NamedTuple):
    """Positions start <= i < end along one axis of a tensor."""

    source: ir.Value
    axis: int
    start: int
    end: int


class SplitConcat(ExactPass):
    """Replaces parts that make up a tensor again, among the inputs of a Concat, by that tensor."""

    name = "split-concat"
    text = "concatenates what was split as what it was"

    def rewrite(self, graph: ir.Graph) -> None:
        """Rewrites every Concat with such inputs."""
        for node in [node for node in graph if node.op_type == "Concat"]:
            inputs = _joined(list(node.inputs), node.attributes.get_int("axis", 0))
            if len(inputs) == len(node.inputs):
                continue
            node.resize_inputs(len(inputs))
            for index, value in enumerate(inputs):
                node.replace_input_with(index, value)
            self.applied.append(node.name or "")


def _joined(inputs: list[ir.Value | None], axis: int) -> list[ir.Value | None]:
    """The inputs with every run of parts that is a whole tensor replaced by it."""
    parts = [_part(value) for value in inputs]
    for first, part in enumerate(parts):
        if part is None or part.start != 0 or part.axis != axis:
            continue
        end, last = 0, first
        for follower in parts[first:]:
            if follower is None or follower[:2] != part[:2] or follower.start != end:
                break
            end, last = follower.end, last + 1
        shape = shape_of(part.source)
        if shape is not None and end == shape[axis] and last - first > 1:
            return [*inputs[:first], part.source, *_joined(inputs[last:], axis)]
    return inputs


def _part(value: ir.Value | None) -> _Part | None:
    node = None if value is None else value.producer()
    source = node.inputs[0] if node is not None else None
    shape = shape_of(source) if source is not None else None
    if node is None or value is None or source is None or shape is None:
        return None
    if node.op_type == "Split":
        axis = node.attributes.get_int("axis", 0) % len(shape)
        sizes = [shape_of(output) for output in node.outputs]
        if any(size is None for size in sizes):
            return None
        ends = np.cumsum([size[axis] for size in sizes if size is not None])
        index = list(node.outputs).index(value)
        return _Part(source, axis, int(ends[index - 1]) if index else 0, int(ends[index]))
    if node.op_type == "Slice" and len(node.inputs) >= 4:
        start, end, axes = (numbers(node.inputs[index]) for index in (1, 2, 3))
        step = numbers(node.inputs[4]) if len(node.inputs) > 4 else np.ones(1)
        if start is None or end is None or axes is None or step is None or axes.size != 1 or step[0] != 1:
            return None
        axis = int(axes[0]) % len(shape)
        clipped = np.clip([start[0], end[0]], 0, shape[axis])
        if start[0] < 0 or end[0] < 0:
            return None
        return _Part(source, axis, int(clipped[0]), int(clipped[1]))
    return None
