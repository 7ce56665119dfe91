"""The census: the convolutions that onnxruntime runs in integers, counted in the graph it optimized for this CPU."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from edgegd.errors import CensusError
from edgegd.plan.profiles import FLOAT, INTEGER
from edgegd.plan.quant_plan import QuantPlan
from edgegd.verify.opened import OnnxFile
from edgegd.verify.optimized_graph import FLOAT_CONVOLUTIONS, INTEGER_CONVOLUTIONS


@dataclass(frozen=True)
class Census:
    """Counts of onnxruntime's optimized graph.

    `unintended` holds the addresses of convolutions that the plan quantizes but that run in float; `operators` counts
    every operator of the optimized graph.
    """

    int8_convs: int
    float_convs: int
    planned_float_convs: int
    unintended: tuple[str, ...]
    operators: dict[str, int]


def take_census(file: OnnxFile, plan: QuantPlan) -> Census:
    """Counts what became of an exported model's convolutions in onnxruntime with all optimizations."""
    nodes = file.optimized.graph.node
    integer = [node for node in nodes if node.op_type in INTEGER_CONVOLUTIONS]
    weights = {name.removesuffix("/weight_int8") for node in integer for name in node.input}
    return Census(
        int8_convs=len(integer),
        float_convs=sum(node.op_type in FLOAT_CONVOLUTIONS for node in nodes),
        planned_float_convs=len(plan.convolutions(FLOAT)),
        unintended=tuple(op.address for op in plan.convolutions(INTEGER) if op.address not in weights),
        operators=dict(Counter(node.op_type for node in nodes).most_common()),
    )


def require_planned(census: Census, plan: QuantPlan, name: str) -> None:
    """CensusError that names every convolution that runs in float against the plan, and the rule that it breaks.

    A convolution that runs in integers although the plan keeps it float is an error too.
    """
    planned = len(plan.convolutions(INTEGER))
    if not census.unintended and census.int8_convs == planned and census.float_convs <= census.planned_float_convs:
        return
    broken = []
    for address in census.unintended:
        op = plan.by_address[address]
        broken.append(f"{address} (rule {op.rule}: {op.reason})")
    raise CensusError(
        f"{name} runs convolutions otherwise than the plan says.",
        expected=f"{planned} integer and {census.planned_float_convs} float convolutions, as planned",
        found=f"{census.int8_convs} integer and {census.float_convs} float ones"
        + (f"; in float against the plan: {'; '.join(broken)}" if broken else ""),
        mend="this onnxruntime fuses differently from the rule table of the profile: see `edgegd explain`, "
        "use a supported onnxruntime (`edgegd doctor`) or report it with verify.json",
    )
