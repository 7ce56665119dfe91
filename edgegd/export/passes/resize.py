"""Nearest-neighbour enlargement by whole factors, as copies of whole rows instead of a look-up for every element.

1. (1, H, W, C): Concat of `factor` times the same codes along the last axis is (1, H, W, factor * C), which read as
   (1, H, factor * W, C) has every pixel `factor` times.
2. The same along the axis of columns, read as (1, factor * H, factor * W, C), has every row `factor` times.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgegd.export.passes.base import ExactPass, Unfit, constant, shape_of, take_place


class NearestResize(ExactPass):
    """Replaces Resize of NHWC codes by two Concat with Reshape."""

    name = "nearest-resize"
    text = "nearest-neighbour enlargement by copies of rows"

    def rewrite(self, graph: ir.Graph) -> None:
        """Rewrites every Resize that repeats pixels."""
        for node in [node for node in graph if node.op_type == "Resize"]:
            source, output = node.inputs[0], node.outputs[0]
            before, after = (shape_of(value) if value is not None else None for value in (source, output))
            unfit = _unfit(node, before, after)
            if unfit is not None:
                self.refuse(node, unfit.reason)
                continue
            assert source is not None and before is not None and after is not None  # what fits has shapes
            batch, height, width, channels = before
            vertical, horizontal = after[1] // height, after[2] // width
            columns = _repeated(graph, node, source, horizontal, 3, (batch, height, horizontal * width, channels))
            rows = _repeated(graph, node, columns, vertical, 2, after)
            take_place(output, rows)
            self.applied.append(node.name or "")


def _unfit(node: ir.Node, before: tuple[int, ...] | None, after: tuple[int, ...] | None) -> Unfit | None:
    if before is None or after is None or len(before) != 4:
        return Unfit("its shape is not known")
    if node.attributes.get_string("mode", "nearest") != "nearest":
        return Unfit("it interpolates")
    factors = [new / old for old, new in zip(before, after, strict=True)]
    if factors[0] != 1 or factors[3] != 1 or any(factor != round(factor) or factor < 1 for factor in factors):
        return Unfit("it does not repeat whole pixels")
    taken = [_taken(node, old, new) for old, new in zip(before[1:3], after[1:3], strict=True)]
    repeated = [np.arange(new) // (new // old) for old, new in zip(before[1:3], after[1:3], strict=True)]
    if not all(np.array_equal(a, b) for a, b in zip(taken, repeated, strict=True)):
        return Unfit("its nearest pixels are not those of repetition")
    return None


def _taken(node: ir.Node, old: int, new: int) -> np.ndarray:
    """The index that Resize takes for each new position, by its attributes; empty where they are others."""
    position = np.arange(new) * (old / new)
    rounding = node.attributes.get_string("nearest_mode", "round_prefer_floor")
    transform = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    if transform == "half_pixel":
        position = (np.arange(new) + 0.5) * (old / new) - 0.5
    elif transform != "asymmetric":
        return np.array([])
    rounded = {"floor": np.floor(position), "round_prefer_floor": np.ceil(position - 0.5)}.get(rounding)
    return np.array([]) if rounded is None else rounded.clip(0, old - 1)


def _repeated(
    graph: ir.Graph, node: ir.Node, value: ir.Value, factor: int, axis: int, shape: tuple[int, ...]
) -> ir.Value:
    name = f"{node.name}/repeat{axis}"
    joined = ir.node("Concat", [value] * factor, {"axis": axis}, name=name)
    target = constant(graph, np.array(shape, np.int64), f"{name}/shape")
    reshaped = ir.node("Reshape", [joined.outputs[0], target], name=f"{name}/reshape")
    graph.insert_before(node, [joined, reshaped])
    for made in (joined, reshaped):
        made.outputs[0].type, made.outputs[0].name = value.type, made.name
    reshaped.outputs[0].shape = ir.Shape(shape)
    return reshaped.outputs[0]
