"""Scores and boxes of the detections that survive top-k alone, instead of all of them (end-to-end heads).

The head computes the sigmoid of every class score and the box of every anchor, and keeps K. Here
1. the best class of an anchor is that of the largest code: dequantization and sigmoid never decrease. Where two codes
   of a level have scores so close that an implementation of the sigmoid could turn them round, the pass refuses;
2. class codes of the chosen anchors are gathered and dequantized as DequantizeLinear does, (code - zero point) * scale,
   with the numbers of the level that the anchor is from; the sigmoid is computed of these;
3. boxes are decoded for the detections that are left: decoding is arithmetic an anchor, so gathering first changes no
   number.
Both top-k still compare the same scores, so equal ones stay in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from edgegd.export.graph_pass import LIFTED_CONSTANTS
from edgegd.export.passes.base import ExactPass, Unfit, constant, numbers, shape_of, sole_reader

_SMALLEST_STEP = 2.5e-7  # of a score, relative: four times float32's resolution next to 1
_PER_ANCHOR = ("Add", "Sub", "Mul", "Div", "Concat", "Slice")  # what decoding may consist of, along the axis of anchors


class _Level(NamedTuple):
    codes: ir.Value  # (1, H, W, classes)
    scale: float
    zero_point: int
    anchors: int


class _Tail(NamedTuple):
    first: ir.Node  # top-k of anchors
    rows: ir.Node  # the scores of these, (1, K, classes)
    boxes: ir.Node  # the boxes of these, (1, K, 4)
    decoded: ir.Value  # boxes of all anchors, (1, 4, anchors)
    levels: list[_Level]


class LateDecoding(ExactPass):
    """Moves sigmoid and box decoding behind top-k."""

    name = "late-decoding"
    text = "sigmoid and box decoding for the detections that are left, not for every anchor"
    needs = (LIFTED_CONSTANTS,)

    def rewrite(self, graph: ir.Graph) -> None:
        """Rewrites the head of an end-to-end detector."""
        output = graph.outputs[0]
        found = _tail(output)
        if isinstance(found, Unfit):
            self.refuse(output, found.reason)
            return
        if not all(map(_increases, found.levels)):
            self.refuse(output, "the scores of different codes are equal: the sigmoid saturates")
            return
        builder = _Builder(graph, found)
        boxes = builder.boxes()
        if boxes is None:
            self.refuse(output, "box decoding mixes anchors")
            return
        builder.scores()
        found.boxes.outputs[0].replace_all_uses_with(boxes)
        self.applied.append(found.decoded.producer().name or "")  # type: ignore[union-attr]


def _tail(output: ir.Value) -> _Tail | Unfit:
    joined = _made_by(output, "Concat")
    boxes = _made_by(joined.inputs[0], "GatherElements") if joined and len(joined.inputs) == 3 else None
    split = _made_by(boxes.inputs[0], "Split") if boxes else None
    if joined is None or boxes is None or split is None:
        return Unfit("the head is not end-to-end: NMS needs every anchor")
    readers = {use.node.op_type: use.node for use in split.outputs[1].uses()}
    scores = _made_by(joined.inputs[1], "Unsqueeze")
    second = _made_by(scores.inputs[0], "TopK") if scores else None
    first = sole_reader(readers["ReduceMax"].outputs[0]) if set(readers) == {"ReduceMax", "GatherElements"} else None
    all_rows = _made_by(split.inputs[0], "Transpose")
    both = _made_by(all_rows.inputs[0], "Concat") if all_rows else None
    sigmoid = _made_by(both.inputs[1], "Sigmoid") if both and len(both.inputs) == 2 else None
    logits = _made_by(sigmoid.inputs[0], "Concat") if sigmoid else None
    if second is None or first is None or both is None or logits is None or list(first.outputs[0].uses()):
        return Unfit("the head is none of those that are known")
    levels = [_level(value) for value in logits.inputs]
    if any(level is None for level in levels):
        return Unfit("its class scores are no codes")
    return _Tail(
        first,
        readers["GatherElements"],
        boxes,
        both.inputs[0],  # type: ignore[arg-type]
        [level for level in levels if level is not None],
    )


def _made_by(value: ir.Value | None, op_type: str) -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == op_type else None


def _level(value: ir.Value | None) -> _Level | None:
    reshape = _made_by(value, "Reshape")
    dequantize = _made_by(reshape.inputs[0], "DequantizeLinear") if reshape else None
    transpose = _made_by(dequantize.inputs[0], "Transpose") if dequantize else None
    codes = transpose.inputs[0] if transpose else None
    if dequantize is None or codes is None:
        return None
    scale, zero_point, shape = numbers(dequantize.inputs[1]), numbers(dequantize.inputs[2]), shape_of(codes)
    if scale is None or zero_point is None or shape is None or len(shape) != 4:
        return None
    return _Level(codes, float(scale), int(zero_point), shape[1] * shape[2])


def _increases(level: _Level) -> bool:
    """Whether larger codes have larger scores in any implementation of the sigmoid."""
    lowest = -128 if level.codes.dtype == ir.DataType.INT8 else 0
    codes = np.arange(lowest, lowest + 256, dtype=np.float32) - np.float32(level.zero_point)
    logits = (codes * np.float32(level.scale)).astype(np.float64)
    scores = 1 / (1 + np.exp(-logits))
    return bool((np.diff(scores) > _SMALLEST_STEP * scores[1:]).all())


class _Builder:
    """Makes the new nodes, before the second top-k or the boxes' gathering."""

    def __init__(self, graph: ir.Graph, tail: _Tail) -> None:
        self.graph, self.tail = graph, tail
        self.prefix = (tail.first.name or "head").rpartition(":")[0]

    def node(
        self, before: ir.Node, op_type: str, inputs: Sequence[ir.Value], dtype: ir.DataType, **attributes: object
    ) -> ir.Value:
        """The result of a new node."""
        made = ir.node(op_type, inputs, attributes)  # type: ignore[arg-type]
        self.graph.insert_before(before, made)
        made.outputs[0].dtype = dtype
        return made.outputs[0]

    def number(self, name: str, array: np.ndarray) -> ir.Value:
        """A constant of this head."""
        return constant(self.graph, array, f"{self.prefix}/late/{name}")

    def scores(self) -> None:
        """The best score of every anchor, and all scores of those that the first top-k chooses."""
        first, rows, levels = self.tail.first, self.tail.rows, self.tail.levels
        classes = shape_of(levels[0].codes)[-1]  # type: ignore[index]
        best, by_anchor = [], []
        for index, level in enumerate(levels):
            kind = level.codes.dtype or ir.DataType.UINT8
            top = self.node(first, "ReduceMax", [level.codes, self.number("classes", np.array([3]))], kind, keepdims=0)
            flat = self.node(first, "Reshape", [top, self.number(f"flat{index}", np.array([1, level.anchors]))], kind)
            zero = np.array(level.zero_point, kind.numpy())
            scale = self.number(f"scale{index}", np.array(level.scale, np.float32))
            best.append(
                self.node(
                    first, "DequantizeLinear", [flat, scale, self.number(f"zero{index}", zero)], ir.DataType.FLOAT
                )
            )
            shape = self.number(f"rows{index}", np.array([1, level.anchors, classes]))
            by_anchor.append(self.node(first, "Reshape", [level.codes, shape], kind))
        logits = self.node(first, "Concat", best, ir.DataType.FLOAT, axis=1)
        first.replace_input_with(0, self.node(first, "Sigmoid", [logits], ir.DataType.FLOAT))
        codes = self.node(rows, "Concat", by_anchor, by_anchor[0].dtype or ir.DataType.UINT8, axis=1)
        flat = self.node(rows, "Reshape", [first.outputs[1], self.number("index", np.array([-1]))], ir.DataType.INT64)
        chosen = self.node(rows, "Gather", [codes, flat], codes.dtype or ir.DataType.UINT8, axis=1)
        value = self.node(rows, "Cast", [chosen], ir.DataType.FLOAT, to=int(ir.DataType.FLOAT))
        for name, op_type in (("zero_point", "Sub"), ("scale", "Mul")):
            of_level = [np.array(getattr(level, name), np.float32) for level in levels]
            value = self.node(rows, op_type, [value, self.by_level(rows, name, of_level)], ir.DataType.FLOAT)
        rows.outputs[0].replace_all_uses_with(self.node(rows, "Sigmoid", [value], ir.DataType.FLOAT))

    def by_level(self, before: ir.Node, name: str, of_level: Sequence[np.ndarray]) -> ir.Value:
        """Of each chosen anchor the number of its level, (1, K, 1)."""
        shape = self.number("column", np.array([1, -1, 1]))
        index = self.node(before, "Reshape", [self.tail.first.outputs[1], shape], ir.DataType.INT64)
        ends = np.cumsum([level.anchors for level in self.tail.levels])
        value = self.number(f"{name}{len(ends) - 1}", of_level[-1])
        for level in reversed(range(len(ends) - 1)):
            inside = self.node(before, "Less", [index, self.number(f"end{level}", ends[level])], ir.DataType.BOOL)
            own = self.number(f"{name}{level}", of_level[level])
            value = self.node(before, "Where", [inside, own, value], ir.DataType.FLOAT)
        return value

    def boxes(self) -> ir.Value | None:
        """The boxes (1, K, 4) of the detections that are left, None where an operation is not one an anchor."""
        gather, anchors = self.tail.boxes, sum(level.anchors for level in self.tail.levels)
        unsqueeze = _made_by(_made_by(gather.inputs[1], "Expand").inputs[0], "Unsqueeze")  # type: ignore[union-attr]
        index = self.node(
            gather,
            "Reshape",
            [unsqueeze.inputs[0], self.number("index", np.array([-1]))],  # type: ignore[union-attr, list-item]
            ir.DataType.INT64,
        )
        made: dict[ir.Value, ir.Value] = {}

        def of_the_left(value: ir.Value) -> ir.Value | None:
            shape = shape_of(value)
            if value in made or shape is None or shape[-1] != anchors:
                return made.get(value, value)  # a number that serves all anchors
            node = value.producer()
            if node is None or _is_levels(node):
                made[value] = self.node(gather, "Gather", [value, index], ir.DataType.FLOAT, axis=len(shape) - 1)
            elif node.op_type not in _PER_ANCHOR or _touches_anchors(node, len(shape)):
                return None
            else:
                inputs = [of_the_left(item) if item is not None else None for item in node.inputs]
                if any(new is None and old is not None for new, old in zip(inputs, node.inputs, strict=True)):
                    return None
                clone = ir.node(node.op_type, inputs, dict(node.attributes), name=f"{node.name}/late")
                self.graph.insert_before(gather, clone)
                made[value] = clone.outputs[0]
            return made[value]

        decoded = of_the_left(self.tail.decoded)
        return None if decoded is None else self.node(gather, "Transpose", [decoded], ir.DataType.FLOAT, perm=[0, 2, 1])


def _is_levels(node: ir.Node) -> bool:
    """Whether a Concat joins the anchors of the levels: what comes before it is the network."""
    shape = shape_of(node.outputs[0])
    return node.op_type == "Concat" and shape is not None and node.attributes.get_int("axis", 0) in (-1, len(shape) - 1)


def _touches_anchors(node: ir.Node, rank: int) -> bool:
    """Whether a Concat or Slice works along the axis of anchors, the last one."""
    if node.op_type == "Concat":
        return node.attributes.get_int("axis", 0) in (-1, rank - 1)
    if node.op_type == "Slice":
        axes = numbers(node.inputs[3]) if len(node.inputs) > 3 else None
        return axes is None or bool(np.isin(axes, (-1, rank - 1)).any())
    return False
