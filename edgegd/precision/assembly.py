"""From a plan, its measured times and sensitivities to the Problem that the solver takes, and back to addresses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from edgegd.addresses import INPUT
from edgegd.plan.profiles import EXACT, FLOAT, INTEGER, MOVE, TABLES
from edgegd.plan.quant_plan import PlannedOp, QuantPlan
from edgegd.plan.traced_op import TracedOp
from edgegd.precision.borders import BorderPrices
from edgegd.precision.problem import Barrier, Problem, Tensor, Unit
from edgegd.precision.timing import Profile

Addresses = tuple[str, ...]


def units_of(plan: QuantPlan) -> tuple[Addresses, ...]:
    """What can run in float although the plan wants integers, in running order: what must switch together as one.

    An integer operation with the ReLU that its kernel absorbs; all steps of one exact attention.
    """
    unit: dict[str, list[str]] = {}
    for op in plan.ops:
        if op.decision == INTEGER:
            unit[op.address] = list(dict.fromkeys((op.address, op.result)))
        elif op.decision == EXACT:
            joined = [op.address]
            for source in op.inputs:
                if source in plan.by_address and plan.by_address[source].decision == EXACT:
                    joined = list(dict.fromkeys((*unit[source], *joined)))
            unit.update(dict.fromkeys(joined, joined))
    return tuple(dict.fromkeys(tuple(members) for members in unit.values()))


def float_addresses(units: Sequence[Addresses], choice: Sequence[bool]) -> Addresses:
    """The addresses that a choice keeps float, as quant.float takes them."""
    return tuple(address for unit, integer in zip(units, choice, strict=True) if not integer for address in unit)


def times_ms(profile: Profile) -> dict[str, float]:
    """Address -> ms of an operation with the changes of layout that serve it; "" is what serves none."""
    times = {"": profile.other_ms(), **profile.operations_ms()}
    for border in profile.borders():
        if border.kind == "layout":
            times[border.address] = times.get(border.address, 0.0) + border.ms
    return times


def assemble(
    plan: QuantPlan,
    ops: Sequence[TracedOp],
    integer_ms: Mapping[str, float],
    float_ms: Mapping[str, float],
    noises: Sequence[float],
    prices: BorderPrices,
    channels: int = 3,
) -> Problem:
    """The problem of choosing among `units_of(plan)`.

    `ops` is the trace that the plan was made from. `integer_ms` and `float_ms` are `times_ms` of the planned file and
    of the float one; `noises` belong to the units in their order. `channels` are the image's.
    """
    return _Assembly(plan, ops, prices, channels).problem(integer_ms, float_ms, noises)


class _Assembly:
    def __init__(self, plan: QuantPlan, ops: Sequence[TracedOp], prices: BorderPrices, channels: int) -> None:
        self.plan, self.prices = plan, prices
        self.units = units_of(plan)
        self.unit_of = {address: index for index, unit in enumerate(self.units) for address in unit}
        height, width = plan.imgsz
        self.elements = {INPUT: channels * height * width} | {op.address: prod(op.shape) for op in ops}
        self.on_demand = {rule.name for rule in TABLES[plan.profile].rules if rule.on_demand}
        self.moves = {op.address: op for op in plan.ops if op.decision == MOVE}
        self.readers: dict[str, list[tuple[PlannedOp, str]]] = {}  # made tensor -> (reader, what it reads of it)
        for op in plan.ops:
            if op.decision != MOVE:
                for source in dict.fromkeys(op.inputs):
                    if not self._inside(op, source):
                        self.readers.setdefault(self._made(source), []).append((op, source))
        self.index = {address: index for index, address in enumerate(self.readers)}

    def _made(self, address: str) -> str:
        """What a tensor is made as, before all movements."""
        while address in self.moves:
            address = self.moves[address].inputs[0]
        return address

    def _inside(self, op: PlannedOp, source: str) -> bool:
        return op.address in self.unit_of and self.unit_of.get(source) == self.unit_of[op.address]

    def problem(
        self, integer_ms: Mapping[str, float], float_ms: Mapping[str, float], noises: Sequence[float]
    ) -> Problem:
        units = tuple(
            Unit(
                unit,
                sum(integer_ms.get(a, 0.0) for a in unit),
                sum(float_ms.get(a, 0.0) for a in unit),
                noise,
                self._needs(unit),
            )
            for unit, noise in zip(self.units, noises, strict=True)
        )
        fixed = sum(float_ms.get(op.address, 0.0) for op in self.plan.ops if op.address not in self.unit_of)
        tensors = tuple(self._tensor(address, integer_ms, float_ms) for address in self.readers)
        return Problem(units, tensors, tuple(self._barriers()), fixed + float_ms.get("", 0.0))

    def _needs(self, unit: Addresses) -> tuple[frozenset[int], ...]:
        """As planning decides: an operation on demand wants one source of codes, an exact attention all of them."""
        needs: list[frozenset[int]] = []
        for op in (self.plan.by_address[address] for address in unit):
            sources = [self._made(source) for source in op.inputs if not self._inside(op, source)]
            if op.decision == EXACT:
                needs += [frozenset({self.unit_of[source]}) for source in sources if source in self.unit_of]
            elif op.decision == INTEGER and op.rule in self.on_demand and INPUT not in sources:
                # Planning makes attentions exact last: their results do not count.
                needs.append(
                    frozenset(
                        self.unit_of[source]
                        for source in sources
                        if source in self.unit_of and self.plan.by_address[source].decision != EXACT
                    )
                )
        return tuple(dict.fromkeys(needs))

    def _tensor(self, address: str, integer_ms: Mapping[str, float], float_ms: Mapping[str, float]) -> Tensor:
        moved = [move for move in self.moves if self._made(move) == address]
        return Tensor(
            self.unit_of.get(address),
            tuple(
                (self.unit_of.get(op.address), self.prices.dequantize(self.elements[read]))
                for op, read in self.readers[address]
            ),
            self.prices.quantize(self.elements[address]),
            sum(integer_ms.get(move, 0.0) - float_ms.get(move, 0.0) for move in moved),
        )

    def _barriers(self) -> list[Barrier]:
        found = []
        for op in self.plan.ops:
            if op.decision in (INTEGER, FLOAT) and op.inputs and op.address in self.index:
                around = tuple(self.index[self._made(source)] for source in op.inputs)
                ms = self.prices.barrier(self.elements[op.address])
                found.append(Barrier(self.unit_of.get(op.address), around, self.index[op.address], ms))
        return found
