"""Border prices of a search against the time of a file that is full of borders."""

from __future__ import annotations

from typing import Any

import pytest

from edgegd.precision.assembly import units_of
from edgegd.precision.borders import probe_patterns
from edgegd.precision.search import _problem
from edgegd.precision.subject import Subject
from edgegd.precision.timing import NodeTime, Profile


def profile(plan: Any, ms: float, plain_ms: float, *more: NodeTime) -> Profile:
    """Every operation takes `ms`."""
    nodes = [NodeTime("Conv", op.address, "CPUExecutionProvider", ms, (), (("float", 10),)) for op in plan.ops]
    return Profile((*nodes, *more), plain_ms, plain_ms, {})


def border(op_type: str, ms: float) -> NodeTime:
    return NodeTime(op_type, f"a:add:0/{op_type}", "CPUExecutionProvider", ms, (("float", 1),), (("float", 10**4),))


@pytest.mark.parametrize(("plain_ms", "reached"), [(5000.0, True), (1.0, False)], ids=["dearer", "cheaper"])
def test_the_probes_own_time_is_predicted_where_borders_cost_more_than_their_nodes(
    subject: Subject, plain_ms: float, reached: bool
) -> None:
    plan = subject.plan
    units = units_of(plan)
    probe = profile(plan, 1.0, plain_ms, border("QuantizeLinear", 0.5), border("DequantizeLinear", 0.25))
    profiles = {"integer": profile(plan, 3.0, 1.0), "fp32": profile(plan, 5.0, 1.0), "probe": probe}
    problem, prices = _problem(subject, profiles, [0.0] * len(units))
    kept = set(probe_patterns(plan))
    predicted = problem.total_ms([not kept & set(unit) for unit in units])
    if reached:
        assert predicted == pytest.approx(plain_ms)
    else:
        assert predicted > plain_ms  # never below what the nodes take
        assert prices.quantize(10**4) == pytest.approx(0.5)
    assert prices.quantize(10**4) == pytest.approx(2 * prices.dequantize(10**4))
