"""From a traced model and a profile's rule table to its quantization plan."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from scipy.cluster.hierarchy import DisjointSet

from edgegd.addresses import INPUT, inner_of, owner_of
from edgegd.errors import PlanError
from edgegd.plan.attention import SOFTMAX, VALUES, Attention, find_attentions
from edgegd.plan.profiles import ABSORBED, EXACT, FLOAT, INTEGER, MOVE, TABLES
from edgegd.plan.profiles.table import HeadPaths, Rule, RuleTable
from edgegd.plan.quant_plan import PlannedOp, PlannedTensor, QuantPlan, model_hash, nearest
from edgegd.plan.traced_op import TracedOp

_SIGNED, _NON_NEGATIVE, _KNOWN = "range", "scale", "nothing"  # PlannedTensor.learns of a tensor by itself


def build_plan(
    ops: tuple[TracedOp, ...],
    head: HeadPaths,
    profile: str,
    *,
    imgsz: tuple[int, int],
    float_patterns: Sequence[str] = (),
    rules: Mapping[str, str] | None = None,
) -> QuantPlan:
    """Applies a profile's rule table, and a recipe's changes to it, to a traced model.

    A float operation whose result an integer operation reads has its result quantized too (rule `boundary`).
    `imgsz` is the (height, width) in px of the trace. `float_patterns` are fnmatch patterns of addresses that stay
    float (recipe key quant.float); `rules` sets the decision of rules by name (quant.rules).

    Raises:
        PlanError: a pattern matches no address; no such rule; a rule that cannot take the decision.
    """
    table = TABLES[profile]
    planner = _Planner(ops, head, table, changed_rules(table, rules or {}), pattern_of(ops, float_patterns))
    tensors = (
        PlannedTensor(address, table.activation.name, planner.group_of(address), planner.kind[address], *why)
        for address, why in planner.in_running_order()
    )
    return QuantPlan(profile, imgsz, model_hash(ops), tuple(map(planner.planned, ops)), tuple(tensors))


def changed_rules(table: RuleTable, decisions: Mapping[str, str]) -> RuleTable:
    """The table with the decisions of a recipe's quant.rules; PlanError for one that it cannot take."""
    known = {rule.name: rule for rule in table.rules}
    for name, decision in decisions.items():
        if name not in known:
            raise PlanError(
                f"quant.rules names {name}, which is no rule of {table.profile}.",
                expected=f"one of {', '.join(known)}",
                found=name,
                mend=f"did you mean {nearest(name, known)}?" if nearest(name, known) else "",
            )
        rule = known[name]
        if decision not in (FLOAT, INTEGER) or (
            decision == INTEGER and rule.decision != INTEGER and not rule.may_be_integer
        ):
            possible = [FLOAT, INTEGER] if rule.decision == INTEGER or rule.may_be_integer else [FLOAT]
            raise PlanError(
                f"The rule {name} cannot be {decision}: {rule.reason}.",
                expected=" or ".join(possible),
                found=f"{name}: {decision}",
                mend=f"take quant.rules.{name} out",
            )
        if decision != rule.decision:
            known[name] = replace(rule, decision=decision, reason=f"quant.rules: {name}: {decision}")
    return replace(table, rules=tuple(known.values()))


def pattern_of(ops: Sequence[TracedOp], patterns: Sequence[str]) -> dict[str, str]:
    """Address -> the first pattern that matches it; PlanError for a pattern that matches none."""
    found: dict[str, str] = {}
    for pattern in patterns:
        matched = [op.address for op in ops if fnmatchcase(op.address, pattern)]
        if not matched:
            close = nearest(pattern, [op.address for op in ops] + [op.module for op in ops])
            raise PlanError(
                f"The pattern {pattern} of quant.float matches no operation of the model.",
                expected="a pattern of addresses, such as model.2.*",
                found=pattern,
                mend=f"did you mean {close}?" if close else "see `edgegd explain` for the addresses",
            )
        for address in matched:
            found.setdefault(address, pattern)
    return found


class _Planner:
    """One pass of planning: decisions, then quantized tensors (`why`), their kinds, their groups."""

    def __init__(
        self,
        ops: tuple[TracedOp, ...],
        head: HeadPaths,
        table: RuleTable,
        changed: RuleTable,
        pattern: Mapping[str, str],
    ) -> None:
        self.ops = ops
        self.by_address = {op.address: op for op in ops}
        self.readers: dict[str, list[TracedOp]] = defaultdict(list)
        for op in ops:
            for source in op.inputs:
                self.readers[source].append(op)
        # What an operation is by nature, whatever a recipe makes of it: a change stays where it is made.
        self.nature = {op.address: table.rule_for(op, head) for op in ops}
        self.wanted = self._wanted()
        self.absorbed_by: dict[str, str] = {}  # integer operation -> the ReLU that its kernel absorbs
        self.calls = Counter(op.module for op in ops if op.operation == "conv2d")
        self.rule: dict[str, Rule] = {}
        for op in ops:
            self.rule[op.address] = self._decided(op, head, changed, pattern.get(op.address))
        self.part: dict[str, str] = {}  # operation of an exact attention -> which
        for attention in find_attentions(ops):
            self._make_exact(attention, head, changed, pattern)
        self.why: dict[str, tuple[str, str]] = {}
        self._quantize()
        self.kind: dict[str, str] = {}
        self.order = {address: position for position, (address, _) in enumerate(self.in_running_order())}
        self.groups = DisjointSet(self.order)
        self._tie()

    def _wanted(self) -> set[str]:
        """What a convolution reads, directly or through movements and operations on demand."""
        wanted: set[str] = set()
        for op in reversed(self.ops):
            rule = self.nature[op.address]
            passes_on = rule.decision in (MOVE, ABSORBED) or rule.on_demand
            if rule.weights or (passes_on and op.address in wanted):
                wanted.update(op.inputs)
        return wanted

    def _decided(self, op: TracedOp, head: HeadPaths, table: RuleTable, pattern: str | None) -> Rule:
        rule = table.rule_for(op, head)
        if pattern is not None:
            return replace(rule, name="recipe", decision=FLOAT, reason=f"quant.float: {pattern}", mirrors="recipe")
        if rule.weights and rule.decision == INTEGER and self.calls[op.module] > 1:
            return replace(rule, decision=FLOAT, reason=f"its weights serve {self.calls[op.module]} calls")
        if rule.decision == ABSORBED:
            (source,) = op.inputs
            before = self.rule.get(source)
            if before and before.decision == INTEGER and before.absorbs and len(self.readers[source]) == 1:
                self.absorbed_by[source] = op.address
            else:
                rule = table.rule_for(op, head, absorbed=False)
        if rule.decision == INTEGER and rule.on_demand:
            if op.address not in self.wanted:
                return replace(rule, decision=FLOAT, reason="no convolution reads its result")
            if not any(self._is_codes(source) for source in op.inputs):
                return replace(rule, decision=FLOAT, reason="all that it reads is float")
        return replace(rule, reason=rule.reason.format(operation=op.operation))

    def _make_exact(self, attention: Attention, head: HeadPaths, table: RuleTable, pattern: Mapping[str, str]) -> None:
        """Makes an attention exact as a whole: what it reads is codes, what it makes is wanted, no recipe objects."""
        rules = {
            address: table.rule_for(replace(self.by_address[address], operation=part), head)
            for address, part in attention.parts.items()
        }
        if (
            attention.values in self.wanted
            and not rules.keys() & pattern.keys()
            and all(rule.decision == EXACT for rule in rules.values())
            and all(self._is_codes(source) for source in (attention.query, attention.key, attention.value))
        ):
            self.rule |= rules
            self.nature |= rules
            self.part |= attention.parts

    def _is_codes(self, address: str) -> bool:
        """Whether a tensor is made by an integer kernel (or is the image), movements aside."""
        while address != INPUT and self.rule[address].decision == MOVE:
            address = self.by_address[address].inputs[0]
        return address == INPUT or self.rule[address].decision in (INTEGER, ABSORBED, EXACT)

    def _quantize(self) -> None:
        for op in self.ops:
            rule = self.rule[op.address]
            if rule.decision == INTEGER:
                for source in op.inputs:
                    self._quantize_source(source, op.address)
                for inner in rule.inner:
                    self.why[f"{op.address}/{inner}"] = (rule.name, rule.reason)
            if self.part.get(op.address) in (SOFTMAX, VALUES):
                for inner in ("", *(f"/{inner}" for inner in rule.inner)):
                    self.why[f"{op.address}{inner}"] = (rule.name, rule.reason)
            if rule.decision == ABSORBED or (rule.decision == INTEGER and op.address not in self.absorbed_by):
                self.why[op.address] = (rule.name, rule.reason)
        for op in self.ops:
            rule = self.rule[op.address]
            if rule.decision == MOVE and all(source in self.why for source in op.inputs):
                self.why[op.address] = (rule.name, rule.reason)

    def _quantize_source(self, address: str, reader: str) -> None:
        """Makes sure that what an integer operation reads is quantized, back through movements."""
        if address in self.why:
            return
        if address == INPUT:
            self.why[address] = ("input", "the image itself: codes 0..255 of scale 1/255")
        elif self.rule[address].decision == MOVE:
            for source in self.by_address[address].inputs:
                self._quantize_source(source, reader)
            self.why[address] = (self.rule[address].name, self.rule[address].reason)
        else:
            self.why[address] = ("boundary", f"float result that the integer operation {reader} reads")

    def _tie(self) -> None:
        """The kind of every quantized tensor, and one group for what a movement or a concat of one kind joins.

        A concat of ReLU results with others is left untied: a ReLU is absorbed only at zero point 0.
        """
        for address, _ in self.in_running_order():
            op = self.by_address.get(address)
            if op is None:  # the image, or a tensor inside an operation
                self.kind[address] = _KNOWN
                continue
            kinds = {self.kind.get(source, _SIGNED) for source in op.inputs}
            sources = {self.groups[source] for source in op.inputs if source in self.why}
            self.kind[address] = self._kind(address, kinds)
            rule = self.rule[address]
            one_range = len(sources) == 1 or (len(kinds) == 1 and _KNOWN not in kinds)
            if rule.ties and rule.decision in (INTEGER, MOVE) and one_range:
                self.kind[address] = self.kind[op.inputs[0]]
                for source in op.inputs:
                    self.groups.merge(source, address)

    def _kind(self, address: str, sources: set[str]) -> str:
        nature = self.nature[address]
        if nature.fixed_range:
            return _KNOWN
        if nature.non_negative or (nature.keeps_sign and _SIGNED not in sources):
            return _NON_NEGATIVE
        return _SIGNED

    def in_running_order(self) -> list[tuple[str, tuple[str, str]]]:
        """The quantized tensors with rule and reason; what lies inside an operation comes before its result."""
        order = {INPUT: -1} | {op.address: index for index, op in enumerate(self.ops)}
        return sorted(self.why.items(), key=lambda item: (order[owner_of(item[0])], not inner_of(item[0])))

    def group_of(self, address: str) -> str:
        """The scale group of a quantized tensor, which is named by its first member."""
        return min(self.groups.subset(address), key=self.order.__getitem__)

    def planned(self, op: TracedOp) -> PlannedOp:
        """The operation with what was decided."""
        rule = self.rule[op.address]
        decision, reason, weight, result = rule.decision, rule.reason, "", ""
        if decision == MOVE and op.address not in self.why:
            decision, reason = FLOAT, "moves float values"
        if decision == INTEGER:
            weight, result = op.module if rule.weights else "", self.absorbed_by.get(op.address, op.address)
        if self.part.get(op.address) in (SOFTMAX, VALUES):
            result = op.address
        operation = self.part.get(op.address, op.operation)
        return PlannedOp(op.address, operation, op.inputs, decision, rule.name, reason, weight, result)
