"""The quantization plan: which tensor is quantized, in which format, in which scale group, and why. Plain data."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edgegd.addresses import INPUT, inner_of, owner_of
from edgegd.errors import PlanError
from edgegd.plan.attention import fixed_ranges, planned_attentions
from edgegd.plan.formats import Format
from edgegd.plan.profiles import ABSORBED, EXACT, FLOAT, INTEGER, MOVE, TABLES
from edgegd.plan.traced_op import TracedOp

PLAN_SCHEMA = 2
LEARNS = ("range", "scale", "nothing")
_REGENERATE = "run the stage `ptq` again without quant.plan, and change the plan.json that it writes"


@dataclass(frozen=True)
class PlannedOp:
    """What happens to one operation.

    `inputs` are addresses; `decision` is integer, move, absorbed, exact or float; `weight` is the path of the module
    whose weight and bias are quantized (empty: none). `result` is the planned tensor to which an integer kernel, or an
    exact operation that makes codes, requantizes: the operation's own address, or that of the ReLU which onnxruntime
    absorbs into it; empty for all others.
    """

    address: str
    operation: str
    inputs: tuple[str, ...]
    decision: str
    rule: str
    reason: str
    weight: str = ""
    result: str = ""


@dataclass(frozen=True)
class PlannedTensor:
    """One quantized activation: its address, format, scale group (the address of the group's first member) and why.

    `learns` says what training may change of its group: `range` (scale and zero point), `scale` (no value is negative:
    the zero point stays 0) or `nothing` (the range is known: the image, a sigmoid).
    """

    address: str
    format: str
    group: str
    learns: str
    rule: str
    reason: str


@dataclass(frozen=True)
class QuantPlan:
    """Every operation's decision and every quantized activation of one model for one runtime profile.

    `imgsz` is the (height, width) in px that the model was traced for, `model` the hash of its trace (`model_hash`).
    """

    profile: str
    imgsz: tuple[int, int]
    model: str
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

    def keeps_codes(self, op: PlannedOp) -> bool:
        """Whether the codes of the operation's result are codes that it read: a move, a concat of one scale group."""
        if op.decision == MOVE:
            return True
        groups = {self.groups.get(address) for address in (op.address, *op.inputs)}
        return op.decision == INTEGER and op.operation == "cat" and len(groups) == 1

    def float_sums_become_codes(self) -> tuple[str, ...]:
        """The quantized tensors that are made, through float operations alone, of a float convolution's result.

        Their codes depend on the order of a float sum, which is another in every library.
        """

        def is_float_sum(address: str) -> bool:
            op = self.by_address.get(address)
            return (
                op is not None
                and op.decision == FLOAT
                and (
                    op.operation == "conv2d"
                    or any(is_float_sum(source) for source in op.inputs if source not in self.groups)
                )
            )

        return tuple(tensor.address for tensor in self.tensors if is_float_sum(tensor.address))

    def for_profile(self, profile: str) -> QuantPlan:
        """The same decisions, scale groups and reasons in another profile's formats."""
        name = TABLES[profile].activation.name
        tensors = tuple(dataclasses.replace(tensor, format=name) for tensor in self.tensors)
        return dataclasses.replace(self, profile=profile, tensors=tensors)

    def to_json(self) -> str:
        """The plan as JSON with one line an entry, fit for diff."""

        def lines(items: tuple[Any, ...]) -> str:
            return ",\n".join("  " + json.dumps(dataclasses.asdict(item)) for item in items)

        head = {"schema": PLAN_SCHEMA, "profile": self.profile, "imgsz": self.imgsz, "model": self.model}
        return (
            f'{json.dumps(head)[:-1]},\n "ops": [\n{lines(self.ops)}\n ],\n "tensors": [\n{lines(self.tensors)}\n ]}}\n'
        )

    @staticmethod
    def from_json(text: str) -> QuantPlan:
        """Reads `to_json`'s text, also one edited by hand.

        Raises:
            PlanError: not such a text; another schema; an unknown profile, format, decision or key; or decisions that
                contradict each other, such as an integer operation that reads a tensor which is not quantized.
        """
        try:
            data = json.loads(text, parse_constant=_refuse_constant)
            head = {"schema": data.pop("schema", None), "profile": data.pop("profile", None)}
            if head["schema"] != PLAN_SCHEMA or head["profile"] not in TABLES:
                raise PlanError(
                    "The plan is of another schema or for an unknown profile.",
                    expected=f"schema {PLAN_SCHEMA}, a profile of {', '.join(TABLES)}",
                    found=f"schema {head['schema']}, profile {head['profile']}",
                    mend=_REGENERATE,
                )
            ops = tuple(PlannedOp(**{**op, "inputs": tuple(op["inputs"])}) for op in data.pop("ops"))
            tensors = tuple(PlannedTensor(**tensor) for tensor in data.pop("tensors"))
            height, width = data.pop("imgsz")
            plan = QuantPlan(head["profile"], (height, width), ops=ops, tensors=tensors, **data)
            _require_types(plan)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise PlanError(
                "The plan is malformed.",
                expected=f"JSON of schema {PLAN_SCHEMA} as the stage `ptq` writes",
                found=f"{type(error).__name__}: {error}",
                mend=_REGENERATE,
            ) from error
        _require_consistent(plan)
        return plan

    @property
    def sha256(self) -> str:
        """Hash of the plan's JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def model_hash(ops: Iterable[TracedOp]) -> str:
    """Hash of a trace: addresses, inputs and the output channels of convolutions, nothing that depends on imgsz."""
    lines = []
    for op in ops:
        channels = op.shape[1] if op.operation.startswith("conv") else 0
        lines.append(f"{op.address} {channels} {' '.join(op.inputs)}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def nearest(name: str, known: Iterable[str]) -> str:
    """The two known names closest to `name`, for a message; empty where none is close."""
    return " or ".join(difflib.get_close_matches(name, list(known), n=2, cutoff=0.5))


def require_plan_fits(plan: QuantPlan, ops: tuple[TracedOp, ...], imgsz: tuple[int, int]) -> None:
    """Compares a plan with the model it is meant for, whose trace for images of `imgsz` (height, width) px is `ops`.

    Raises:
        PlanError: the plan names operations that the model does not have; it is of another model, or says of an
            operation what it is not; it was traced for another image size.
    """
    known = {op.address: op for op in ops}
    missing = [op.address for op in plan.ops if op.address not in known]
    other = [op.address for op in plan.ops if op.address in known and not _is_of(op, known[op.address])]
    if missing:
        near = {address: nearest(address, known) for address in missing[:3]}
        close = [f"nearest to {address}: {name}" for address, name in near.items() if name]
        raise PlanError(
            f"The plan names {len(missing)} operations that the model does not have.",
            expected="; ".join(["addresses of this model", *close]),
            found=", ".join(missing[:3]) + (", ..." if len(missing) > 3 else ""),
            mend="correct the addresses, or use the plan with the model that it was made for",
        )
    if plan.model != model_hash(ops):
        raise PlanError(
            "The plan was made for another model.",
            expected=f"the trace {plan.model[:12]}",
            found=f"the trace {model_hash(ops)[:12]}",
            mend="use the plan with the model that it was made for",
        )
    if other:
        told, made = plan.by_address[other[0]], known[other[0]]
        raise PlanError(
            f"The plan says of {len(other)} operations what they are not, {other[0]} first.",
            expected=f"{made.operation} of {', '.join(made.inputs)}",
            found=f"{told.operation} of {', '.join(told.inputs)}",
            mend="change decisions and tensors only",
        )
    if plan.imgsz != tuple(imgsz):
        raise PlanError(
            "The plan was traced for another image size.",
            expected=f"{plan.imgsz[0]}x{plan.imgsz[1]} px",
            found=f"{imgsz[0]}x{imgsz[1]} px",
            mend="set model.imgsz to the plan's, or make the plan again",
        )


def _is_of(planned: PlannedOp, traced: TracedOp) -> bool:
    """Whether a planned operation is the traced one; the parts of an exact attention have names of their own."""
    is_part = planned.decision == EXACT and planned.operation.startswith("attention_")
    return planned.inputs == tuple(traced.inputs) and (is_part or planned.operation == traced.operation)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no value of a plan")


def _require_types(plan: QuantPlan) -> None:
    items: tuple[PlannedOp | PlannedTensor, ...] = (*plan.ops, *plan.tensors)
    for item in items:
        for field in dataclasses.fields(item):
            value = getattr(item, field.name)
            texts = value if field.name == "inputs" else (value,)
            if not all(isinstance(text, str) for text in texts):
                raise TypeError(f"{field.name} of {item.address} must be text, not {value!r}")
    if not isinstance(plan.model, str) or not all(type(side) is int and side > 0 for side in plan.imgsz):
        raise TypeError("model must be text and imgsz two positive integers")


def _require_consistent(plan: QuantPlan) -> None:
    """PlanError with every contradiction of a plan, at most five."""
    checks: list[Callable[[QuantPlan], Iterable[str]]] = [_wrong_names, _wrong_tensors, _wrong_ops]
    for check in checks:
        if problems := list(check(plan)):
            raise PlanError(
                "The plan contradicts itself or names what there is not.",
                found="; ".join(problems[:5]),
                mend="undo the change, or leave it to quant.float and quant.rules",
            )


def _wrong_names(plan: QuantPlan) -> Iterable[str]:
    for op in plan.ops:
        if op.decision not in (INTEGER, MOVE, ABSORBED, EXACT, FLOAT):
            yield f"{op.address} has the decision {op.decision!r}"
    for tensor in plan.tensors:
        if tensor.format != plan.activation_format.name:
            yield f"{tensor.address} has the format {tensor.format!r}, not the profile's {plan.activation_format.name}"
        if tensor.learns not in LEARNS:
            yield f"{tensor.address} learns {tensor.learns!r}, not one of {', '.join(LEARNS)}"
    for items in (plan.ops, plan.tensors):
        addresses = Counter(item.address for item in items)  # type: ignore[attr-defined]
        yield from (f"{address} appears {count} times" for address, count in addresses.items() if count > 1)


def _wrong_tensors(plan: QuantPlan) -> Iterable[str]:
    learns: dict[str, str] = {}
    for tensor in plan.tensors:
        owner, inner = owner_of(tensor.address), inner_of(tensor.address)
        if owner != INPUT and owner not in plan.by_address:
            yield f"the tensor {tensor.address} is of no operation"
        elif inner and plan.by_address[owner].decision not in (INTEGER, EXACT):
            yield f"the tensor {tensor.address} is inside an operation that does not run in integers: take its line out"
        if plan.groups.get(tensor.group) != tensor.group:
            yield f"{tensor.address} is in the group {tensor.group}, which is no group of the plan"
        if learns.setdefault(tensor.group, tensor.learns) != tensor.learns:
            yield f"{tensor.address} learns {tensor.learns!r}, but its group learns {learns[tensor.group]!r}"


def _wrong_ops(plan: QuantPlan) -> Iterable[str]:
    attentions = planned_attentions(plan)
    whole = {address for attention in attentions for address in attention.parts}
    needed = {
        a
        for attention in attentions
        for a in (attention.query, attention.key, attention.value, attention.values, *fixed_ranges([attention]))
    }
    yield from (f"an exact attention needs {address} quantized" for address in needed - plan.groups.keys())
    for op in plan.ops:
        if op.decision == EXACT and op.address not in whole:
            yield f"{op.address} is exact, but not every operation of its attention is"
        for source in op.inputs:
            if source != INPUT and source not in plan.by_address:
                yield f"{op.address} reads {source}, which is no operation"
        if op.decision in (INTEGER, MOVE):
            yield from (
                f"{op.address} runs as {op.decision} and reads {source}, which is not quantized"
                for source in op.inputs
                if source not in plan.groups
            )
        if op.decision == INTEGER and op.result not in plan.groups:
            yield f"{op.address} runs in integers and its result {op.result!r} is not quantized"
        if op.decision == MOVE and len({plan.groups.get(a) for a in (op.address, *op.inputs)}) > 1:
            yield f"{op.address} moves codes between tensors of different scale groups"
        if op.decision == ABSORBED and any(
            plan.by_address[a].result != op.address for a in op.inputs if a in plan.by_address
        ):
            yield f"{op.address} is absorbed, but the operation before it has another result"
