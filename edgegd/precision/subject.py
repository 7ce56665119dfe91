"""What is searched, as plain data: a float graph, the rules' plan with weights and ranges, images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from edgegd.export.graph_forms import constants
from edgegd.export.traced_graph import read_trace
from edgegd.plan.quant_plan import QuantPlan
from edgegd.plan.quantized_state import QuantizedState, Range, tied_weight_scales
from edgegd.plan.traced_op import TracedOp
from edgegd.precision.assembly import Addresses
from edgegd.quant.ranges import Range as Calibrated


@dataclass(frozen=True)
class Subject:
    """A calibrated model, the trace of its float form, its head's tensors, images by batches.

    `graph` is the addressed float graph, `plan` the rules' plan and `state` its weights and ranges. `replan(addresses)`
    makes the plan that keeps these float beyond the rules; batches are (N, C, H, W) float32.
    """

    graph: onnx.ModelProto
    plan: QuantPlan
    state: QuantizedState
    ops: tuple[TracedOp, ...]
    head: Addresses
    batches: Sequence[NDArray[np.float32]]
    replan: Callable[[Addresses], QuantPlan]

    def state_under(self, plan: QuantPlan) -> QuantizedState:
        """The same weights and ranges for a plan that quantizes nothing which the rules' plan does not."""
        ranges = {group: self.state.range_of(self.plan, address) for address, group in plan.groups.items()}
        return with_tied_weights(plan, self.state, ranges)


def with_tied_weights(plan: QuantPlan, state: QuantizedState, ranges: dict[str, Range]) -> QuantizedState:
    """The state with these ranges, and weight scales by the largest weights."""
    ranged = dataclasses.replace(state, ranges=ranges)
    return dataclasses.replace(ranged, weight_scales=tied_weight_scales(plan, ranged))


def calibrated_state(graph: onnx.ModelProto, plan: QuantPlan, chosen: Mapping[str, Calibrated]) -> QuantizedState:
    """The weights of an addressed float graph under the ranges that calibration chose for the plan's groups."""
    values, names = constants(graph.graph), read_trace(graph).parameters
    state = QuantizedState({name: values[name] for name in names}, {}, {})
    ranges = {group: Range(np.float32(one.scale), one.zero_point) for group, one in chosen.items()}
    return with_tied_weights(plan, state, ranges)
