"""The weights and ranges of a quantized model as arrays: what ptq.safetensors and qat.safetensors hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegd.plan.formats import LARGEST_BIAS_CODE, LARGEST_SCALE, SMALLEST_SCALE
from edgegd.plan.profiles.table import INTEGER
from edgegd.plan.quant_plan import PlannedOp, QuantPlan

Array = NDArray[Any]
_MODEL = "model."  # the detector inside a QuantizedModel


def state_key(address: str) -> str:
    """An address or module path as a name that torch accepts for a submodule (no dots)."""
    return address.replace(".", "/")


@dataclass(frozen=True)
class Range:
    """Scale (float32) and zero point (of uint8 codes, whatever the profile) of one scale group."""

    scale: np.float32
    zero_point: int


@dataclass(frozen=True)
class QuantizedState:
    """What is learned, by names of the plan.

    `parameters` maps the name of a parameter or buffer of the detector (`model.0.conv.weight`) to its value, `ranges`
    a scale group to its range, `weight_scales` the path of an integer convolution to its scales (C_out,) float32.
    """

    parameters: Mapping[str, Array]
    ranges: Mapping[str, Range]
    weight_scales: Mapping[str, Array]

    def range_of(self, plan: QuantPlan, address: str) -> Range:
        """The range of a planned tensor."""
        return self.ranges[plan.groups[address]]


def integer_convolutions(plan: QuantPlan) -> list[PlannedOp]:
    """The operations whose weights are quantized."""
    return [op for op in plan.ops if op.weight and op.decision == INTEGER]


def tied_weight_scales(plan: QuantPlan, state: QuantizedState) -> dict[str, Array]:
    """Module path -> the scales (C_out,) at which the largest weight of a channel has the plan's largest code.

    They are larger where the int32 bias would overflow (dead channels).
    """
    return {op.weight: _tied(op, plan, state) for op in integer_convolutions(plan)}


def _tied(op: PlannedOp, plan: QuantPlan, state: QuantizedState) -> Array:
    weight, bias = state.parameters[f"{op.weight}.weight"], state.parameters.get(f"{op.weight}.bias")
    scale = np.abs(weight).reshape(len(weight), -1).max(1) / np.float32(plan.weight_format.qmax)
    if bias is not None:
        input_scale = state.range_of(plan, op.inputs[0]).scale
        scale = np.maximum(scale, np.abs(bias) / (input_scale * np.float32(LARGEST_BIAS_CODE)))
    return scale.clip(np.float32(SMALLEST_SCALE), np.float32(LARGEST_SCALE))


def state_names(plan: QuantPlan) -> dict[str, str]:
    """Name in a stored state of every range and weight scale -> what it is, for a message."""
    names = {}
    for group in dict.fromkeys(plan.groups.values()):
        for part in ("scale", "zero_point"):
            names[f"ranges.{state_key(group)}.{part}"] = f"{part} of {group}"
    for op in integer_convolutions(plan):
        names[f"weights.{state_key(op.weight)}.scale"] = f"weight scales of {op.address}"
    return names


def state_from_arrays(arrays: Mapping[str, Array], plan: QuantPlan) -> QuantizedState:
    """Takes apart the arrays of a `QuantizedModel.state_dict()`; KeyError where one is missing."""
    ranges = {}
    for group in dict.fromkeys(plan.groups.values()):
        key = f"ranges.{state_key(group)}"
        ranges[group] = Range(np.float32(arrays[f"{key}.scale"]), int(arrays[f"{key}.zero_point"]))
    scales = {op.weight: arrays[f"weights.{state_key(op.weight)}.scale"] for op in integer_convolutions(plan)}
    parameters = {name.removeprefix(_MODEL): value for name, value in arrays.items() if name.startswith(_MODEL)}
    return QuantizedState(parameters, ranges, scales)
