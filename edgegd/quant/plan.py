"""The quantization plan: which tensor is quantized, in which format, in which scale group, and why. Plain data."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edgegd.quant.formats import FORMATS, Format
from edgegd.quant.rules import FLOAT, INTEGER, MOVE, TABLES
from edgegd.quant.rules.table import HeadPaths, Rule
from edgegd.quant.tracing import INPUT, TracedOp

PLAN_SCHEMA = 1


@dataclass(frozen=True)
class PlannedOp:
    """What happens to one operation.

    `inputs` are addresses, `decision` is integer, move or float, `weight` the path of the module whose weight and bias
    are quantized (empty: none).
    """

    address: str
    operation: str
    inputs: tuple[str, ...]
    decision: str
    rule: str
    reason: str
    weight: str = ""


@dataclass(frozen=True)
class PlannedTensor:
    """One quantized activation: its address, format, scale group (the address of the group's first member) and why."""

    address: str
    format: str
    group: str
    rule: str
    reason: str


@dataclass(frozen=True)
class QuantPlan:
    """Every operation's decision and every quantized activation of one model for one runtime profile."""

    profile: str
    ops: tuple[PlannedOp, ...]
    tensors: tuple[PlannedTensor, ...]

    @property
    def activation_format(self) -> Format:
        """The format of all activations."""
        return TABLES[self.profile].activation

    @property
    def weight_format(self) -> Format:
        """The format of all weights of integer operations."""
        return TABLES[self.profile].weight

    @cached_property
    def groups(self) -> dict[str, str]:
        """Quantized tensor address -> scale group."""
        return {tensor.address: tensor.group for tensor in self.tensors}

    @cached_property
    def by_address(self) -> dict[str, PlannedOp]:
        """Operation address -> planned operation."""
        return {op.address: op for op in self.ops}

    def convolutions(self, *decisions: str) -> list[PlannedOp]:
        """The convolutions with one of these decisions."""
        return [op for op in self.ops if op.operation == "conv2d" and op.decision in decisions]

    def to_json(self) -> str:
        """The plan as JSON with one line an entry, fit for diff."""
        def lines(items: tuple[Any, ...]) -> str:
            return ",\n".join("  " + json.dumps(dataclasses.asdict(item)) for item in items)

        return (
            f'{{"schema": {PLAN_SCHEMA}, "profile": {json.dumps(self.profile)},\n'
            f' "ops": [\n{lines(self.ops)}\n ],\n "tensors": [\n{lines(self.tensors)}\n ]}}\n'
        )

    @staticmethod
    def from_json(text: str) -> QuantPlan:
        """Reads `to_json`'s text; ValueError for another schema, an unknown profile or an unknown format."""
        data = json.loads(text)
        if data.get("schema") != PLAN_SCHEMA or data.get("profile") not in TABLES:
            raise ValueError(f"not a plan of schema {PLAN_SCHEMA} for one of {sorted(TABLES)}")
        plan = QuantPlan(
            data["profile"],
            tuple(PlannedOp(**{**op, "inputs": tuple(op["inputs"])}) for op in data["ops"]),
            tuple(PlannedTensor(**tensor) for tensor in data["tensors"]),
        )
        unknown = {tensor.format for tensor in plan.tensors} - FORMATS.keys()
        if unknown:
            raise ValueError(f"unknown formats {sorted(unknown)}")
        return plan

    @property
    def sha256(self) -> str:
        """Hash of the plan's JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


class _Groups:
    """Union-find over tensor addresses; a group is named by its earliest member."""

    def __init__(self) -> None:
        self.parent: dict[str, str] = {}
        self.order: dict[str, int] = {}

    def add(self, address: str) -> None:
        self.parent.setdefault(address, address)
        self.order.setdefault(address, len(self.order))

    def find(self, address: str) -> str:
        while self.parent[address] != address:
            address = self.parent[address]
        return address

    def tie(self, a: str, b: str) -> None:
        first, second = sorted((self.find(a), self.find(b)), key=self.order.__getitem__)
        self.parent[second] = first


def build_plan(ops: tuple[TracedOp, ...], head: HeadPaths, profile: str) -> QuantPlan:
    """Applies a profile's rule table to a traced model.

    A float operation whose result an integer operation reads has its result quantized too (rule `boundary`).
    """
    table = TABLES[profile]
    rules = {op.address: table.rule_for(op, head) for op in ops}
    by_address = {op.address: op for op in ops}
    why: dict[str, tuple[str, str]] = {}

    def quantize_source(address: str, reader: str) -> None:
        """Makes sure that what an integer operation reads is quantized, back through movements."""
        if address in why:
            return
        if address == INPUT:
            why[address] = ("input", "the image itself: codes 0..255 of scale 1/255")
        elif rules[address].decision == MOVE:
            for source in by_address[address].inputs:
                quantize_source(source, reader)
            why[address] = (rules[address].name, rules[address].reason)
        else:
            why[address] = ("boundary", f"float result that the integer operation {reader} reads")

    for op in ops:
        rule = rules[op.address]
        if rule.decision == INTEGER:
            for source in op.inputs:
                quantize_source(source, op.address)
            for inner in rule.inner:
                why[f"{op.address}/{inner}"] = (rule.name, rule.reason)
            why[op.address] = (rule.name, rule.reason)
        elif rule.decision == MOVE and all(source in why for source in op.inputs):
            why[op.address] = (rule.name, rule.reason)

    running_order = {INPUT: -1} | {op.address: index for index, op in enumerate(ops)}
    quantized = sorted(why, key=lambda address: (running_order[address.split("/")[0]], "/" not in address))
    groups = _Groups()
    for address in quantized:
        groups.add(address)
    for op in ops:
        if rules[op.address].ties and op.address in why:
            for source in op.inputs:
                groups.tie(source, op.address)
    return QuantPlan(
        profile,
        tuple(_planned_op(op, rules[op.address], op.address in why) for op in ops),
        tuple(PlannedTensor(a, table.activation.name, groups.find(a), *why[a]) for a in quantized),
    )


def _planned_op(op: TracedOp, rule: Rule, quantized: bool) -> PlannedOp:
    decision, reason = rule.decision, rule.reason
    if decision == MOVE and not quantized:
        decision, reason = FLOAT, "moves float values"
    weight = op.module if rule.weights else ""
    return PlannedOp(op.address, op.operation, op.inputs, decision, rule.name, reason, weight)
