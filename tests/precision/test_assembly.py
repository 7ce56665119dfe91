"""Units and their neighbourhood against what planning itself makes of the same choice."""

from __future__ import annotations

import random
from math import prod
from typing import Any

import pytest

from edgegd.detectors.deployment import plan_detector, trace_detector
from edgegd.plan.profiles import EXACT, FLOAT, INTEGER, MOVE
from edgegd.plan.quant_plan import QuantPlan
from edgegd.precision.assembly import assemble, float_addresses, units_of
from edgegd.precision.borders import BorderPrices, Line, border_prices, probe_patterns
from edgegd.precision.timing import NodeTime, Profile

FREE = BorderPrices(Line(0.0, 0.0), Line(0.0, 0.0), 0.0, Line(0.0, 0.0))


@pytest.fixture(scope="module")
def ops(small: Any) -> Any:
    return trace_detector(small.model, 64)


def replan(small: Any, addresses: tuple[str, ...]) -> QuantPlan:
    return plan_detector(small.model, 64, "x86-vnni", float_patterns=addresses)


def possible_choices(problem: Any, count: int) -> list[tuple[bool, ...]]:
    """Random choices, with what lacks a need made float until nothing does."""
    random_, choices = random.Random(0), []
    for share in (0.2, 0.5, 0.8, 0.95) * count:
        choice = [random_.random() < share for _ in problem.units]
        while not problem.is_possible(choice):
            for index, unit in enumerate(problem.units):
                choice[index] &= all(any(choice[i] for i in one_of) for one_of in unit.needs)
        choices.append(tuple(choice))
    return choices


def test_planning_decides_as_the_choice_says(small: Any, ops: Any) -> None:
    plan = small.quantized.plan
    units = units_of(plan)
    problem = assemble(plan, ops, {}, {}, [0.0] * len(units), FREE)
    for choice in possible_choices(problem, 2):
        made = replan(small, float_addresses(units, choice)).by_address
        for unit, integer in zip(units, choice, strict=True):
            assert {made[address].decision != FLOAT for address in unit} == {integer}, unit


def test_times_of_operations_and_borders_are_those_of_the_plan(small: Any, ops: Any) -> None:
    """Prices that tell borders apart by their digits, counted again from the plan that planning makes."""
    plan = small.quantized.plan
    units = units_of(plan)
    integer_ms = {op.address: 3.0 for op in plan.ops}
    float_ms = {op.address: 5.0 for op in plan.ops}
    prices = BorderPrices(Line(1e-3, 1.0), Line(1e-6, 2.0), 0.0, Line(1e-9, 4.0))
    problem = assemble(plan, ops, integer_ms, float_ms, [0.0] * len(units), prices)
    elements = {"input": 3 * 64 * 64} | {op.address: prod(op.shape) for op in ops}
    for choice in [(True,) * len(units), (False,) * len(units), *possible_choices(problem, 1)]:
        made = replan(small, float_addresses(units, choice))
        total = sum(5.0 if op.decision == FLOAT else 3.0 for op in made.ops)
        for address in made.groups:
            maker = made.by_address.get(address)
            if "/" not in address and (maker is None or maker.decision == FLOAT):
                total += prices.quantize(elements[address])
        for op in made.ops:
            if op.decision == FLOAT:
                total += sum(prices.dequantize(elements[a]) for a in dict.fromkeys(op.inputs) if a in made.groups)
                if all(a in made.groups for a in (op.address, *op.inputs)):
                    total += prices.barrier(elements[op.address])
        assert problem.total_ms(choice) == pytest.approx(total, abs=1e-7)


def test_units_cover_what_runs_in_integers_once(small: Any) -> None:
    plan = small.quantized.plan
    covered = [address for unit in units_of(plan) for address in unit]
    assert len(set(covered)) == len(covered)
    assert set(covered) == {op.address for op in plan.ops if op.decision in (INTEGER, EXACT)}
    assert not any(plan.by_address[address].decision == MOVE for address in covered)


def test_a_line_is_fitted_without_negative_prices() -> None:
    rising = Line.through([(0, 1.0), (10**6, 3.0)])
    assert (rising.fixed, rising.per_million) == pytest.approx((1.0, 2.0))
    falling = Line.through([(0, 3.0), (10**6, 1.0)])
    assert falling.per_million == 0 and falling.fixed == pytest.approx(2.0)
    assert Line.through([]) == Line(0.0, 0.0)


def test_border_prices_by_hand() -> None:
    def node(op_type: str, name: str, elements: int, ms: float) -> NodeTime:
        return NodeTime(op_type, name, "CPUExecutionProvider", ms, (("float", 7),), (("float", elements),))

    def profile(*nodes: NodeTime) -> Profile:
        return Profile(nodes, 1.0, 1.0, {})

    probe = profile(
        node("QuantizeLinear", "a:add:0/quantize", 10**6, 2.0),
        node("Transpose", "T", 10**6, 5.0),
        node("QuantizeLinear", "b:add:0/quantize", 2 * 10**6, 4.0),
        node("Max", "b:add:0/Max", 10**6, 7.0),
        node("DequantizeLinear", "c:add:0/dequantize", 10**6, 3.0),
    )
    others = [profile(node("Transpose", "T", 1, 1.0)), profile(node("ReorderInput", "R", 1, 0.0))]
    prices = border_prices(probe, others)
    layout = (5.0 - 0.5) / 4  # ms a million elements that cross a border
    assert prices.quantize(10**6) == pytest.approx(2.0 + layout)
    assert prices.dequantize(10**6) == pytest.approx(3.0 + layout)
    assert prices.barrier(10**6) == pytest.approx(7.0)


def test_the_probe_has_borders_of_many_sizes(small: Any) -> None:
    patterns = probe_patterns(small.quantized.plan)
    made = replan(small, patterns)
    assert {made.by_address[address].decision for address in patterns} == {FLOAT}
    assert len(made.convolutions(INTEGER)) == pytest.approx(len(patterns), abs=1)
