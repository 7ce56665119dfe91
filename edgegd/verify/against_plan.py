"""A plan against an ONNX file: which planned convolutions run in integers, which tensors are quantized as planned.

The file may be any Q/DQ file of the plan's model. Convolutions are recognized by their name or the name of their weight
(`model.0.conv.weight...`, which other exporters keep too), quantized tensors by the names that edgegd gives their codes
(`ADDRESS/codes`); quantized tensors of other names are listed as not in the plan.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import safetensors
from onnx import numpy_helper

from edgegd.addresses import address_of_codes, module_of, without_result
from edgegd.errors import PlanError
from edgegd.export.load_onnx import load_onnx
from edgegd.plan.profiles import FLOAT, INTEGER
from edgegd.plan.quant_plan import QuantPlan
from edgegd.verify.optimized_graph import load_with_graph

AS_PLANNED = "as planned"
_Range = tuple[str, float | None, int | None]  # type of the codes, scale, zero point
_WEIGHT_INPUT = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}


@dataclass(frozen=True)
class FoundConvolution:
    """A planned convolution: `planned` is its decision, `runs_in` what onnxruntime's optimized graph does with it."""

    address: str
    planned: str
    runs_in: str


@dataclass(frozen=True)
class FoundTensor:
    """A planned tensor and its range in the file (type of the codes, scale, zero point; None where it is not there).

    `finding` is AS_PLANNED or says what differs from the plan.
    """

    address: str
    type: str | None
    scale: float | None
    zero_point: int | None
    finding: str


@dataclass(frozen=True)
class AgainstPlan:
    """A file's convolutions and tensors against the plan; `unplanned` names what the file quantizes beside it."""

    convolutions: tuple[FoundConvolution, ...]
    tensors: tuple[FoundTensor, ...]
    unplanned: tuple[str, ...]


def compare_with_plan(path: Path, plan: QuantPlan, weight_shapes: Mapping[str, tuple[int, ...]]) -> AgainstPlan:
    """Compares an ONNX file with a plan; `weight_shapes` maps module paths of convolutions to shapes of their weights.

    Raises:
        OnnxUnreadableError: the file is missing, or onnxruntime cannot load it.
        PlanError: the file is of another model: a planned convolution is missing, or its weight has another shape.
    """
    optimized = load_with_graph(path)[1].graph
    graph = load_onnx(path).graph
    convolutions = _convolutions(graph, plan)
    _require_same_model(path, plan, convolutions, weight_shapes)
    integer = {address for address, (kind, _) in _convolutions(optimized, plan).items() if kind != "Conv"}
    found = tuple(
        FoundConvolution(op.address, op.decision, INTEGER if op.address in integer else FLOAT)
        for op in plan.convolutions(INTEGER, FLOAT)
    )
    tensors, unplanned = _tensors(graph, plan)
    return AgainstPlan(found, tensors, unplanned)


def stored_weight_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Module path -> shape of the weight, from the stored state of a QuantizedModel (safetensors); reads no values."""
    with safetensors.safe_open(path, "np") as state:
        names = [name for name in state.keys() if name.startswith("model.") and name.endswith(".weight")]  # noqa: SIM118
        return {
            name.removeprefix("model.").removesuffix(".weight"): tuple(state.get_slice(name).get_shape())
            for name in names
        }


def _convolutions(graph: onnx.GraphProto, plan: QuantPlan) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Address -> operator and shape of the weight, of every convolution that can be recognized."""
    names = {op.address: op.address for op in plan.convolutions(INTEGER, FLOAT)}
    names |= {module_of(address): address for address in names}
    made_by = {output: node for node in graph.node for output in node.output}
    shapes = {initializer.name: tuple(initializer.dims) for initializer in graph.initializer}
    shapes |= {node.output[0]: tuple(node.attribute[0].t.dims) for node in graph.node if node.op_type == "Constant"}
    found = {}
    for node in graph.node:
        if node.op_type not in _WEIGHT_INPUT:
            continue
        weight = node.input[_WEIGHT_INPUT[node.op_type]]
        seen = [node.name, weight]
        while weight in made_by and made_by[weight].input:  # back through DequantizeLinear, QuantizeLinear, Identity
            weight = made_by[weight].input[0]
            seen.append(weight)
        stems = (re.split(r"[./]weight", name)[0] for name in seen)
        address = next((names[stem] for stem in stems if stem in names), None)
        if address is not None:
            found[address] = node.op_type, shapes.get(weight, ())
    return found


def _require_same_model(
    path: Path,
    plan: QuantPlan,
    found: Mapping[str, tuple[str, tuple[int, ...]]],
    weight_shapes: Mapping[str, tuple[int, ...]],
) -> None:
    planned = [op.address for op in plan.convolutions(INTEGER, FLOAT)]
    missing = [address for address in planned if address not in found]
    of_other_shape = []
    for address, (_, shape) in found.items():
        expected = weight_shapes.get(module_of(address), ())
        if shape and expected and shape != expected:
            of_other_shape.append(f"{address} has a weight of {shape} instead of {expected}")
    if missing or of_other_shape:
        raise PlanError(
            f"{path} is of another model than the plan.",
            expected=f"the plan's {len(planned)} convolutions, by the names of their weights",
            found="; ".join(
                [*([f"{len(missing)} of them are missing, first {missing[0]}"] if missing else []), *of_other_shape[:1]]
            ),
            mend="compare a file of the run's own model; an optimizer that renames weights must not have run on it",
        )


def _ranges_in(graph: onnx.GraphProto, plan: QuantPlan) -> tuple[dict[str, list[_Range]], list[str]]:
    """Ranges of the planned tensors by address, as the file's QuantizeLinear nodes have them; names of further ones."""
    constants: dict[str, Any] = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    constants |= {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t)
        for node in graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    }
    ranges: dict[str, list[_Range]] = {}
    unplanned = []
    for node in graph.node:
        if node.op_type != "QuantizeLinear" or node.input[0] in constants:  # of a weight
            continue
        name = node.output[0]
        of_codes = address_of_codes(name)
        address = without_result(of_codes) if of_codes else ""  # all results of a split have one range
        if address not in plan.groups:
            unplanned.append(name)
            continue
        scale, zero_point = (constants.get(n) for n in [*node.input[1:], ""][:2])
        ranges.setdefault(address, []).append(
            (
                "uint8" if zero_point is None else str(zero_point.dtype),
                None if scale is None else float(scale.flat[0]),
                0 if zero_point is None else int(zero_point.flat[0]),
            )
        )
    return ranges, unplanned


def _tensors(graph: onnx.GraphProto, plan: QuantPlan) -> tuple[tuple[FoundTensor, ...], tuple[str, ...]]:
    ranges, unplanned = _ranges_in(graph, plan)
    of_group: dict[str, set[_Range]] = {}
    for address, group in plan.groups.items():
        of_group.setdefault(group, set()).update(ranges.get(address, ()))
    planned_type = "int8" if plan.activation_format.signed else "uint8"
    tensors = []
    for address, group in plan.groups.items():
        if address not in ranges:
            tensors.append(FoundTensor(address, None, None, None, "not quantized in the file"))
            continue
        finding = AS_PLANNED
        if ranges[address][0][0] != planned_type:
            finding = f"codes are {ranges[address][0][0]}, planned {planned_type}"
        elif len(of_group[group]) > 1:
            finding = f"{len(of_group[group])} different ranges in the scale group of {group}"
        tensors.append(FoundTensor(address, *ranges[address][0], finding))
    return tuple(tensors), tuple(unplanned)
