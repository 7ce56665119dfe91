"""What a placement rule is: a test on one traced operation, and what follows for its tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgegd.quant.formats import Format
from edgegd.quant.tracing import TracedOp

INTEGER = "integer"  # runs in an integer kernel: every tensor it reads and its result are quantized
MOVE = "move"  # moves 8-bit codes without arithmetic: the result shares the range of what it reads
FLOAT = "float"  # runs in float32


@dataclass(frozen=True)
class HeadPaths:
    """Where the detection head is: its module path, and the paths of the convolutions that feed the box decoding."""

    path: str
    box_convolutions: frozenset[str]


@dataclass(frozen=True)
class Rule:
    """One placement rule.

    `applies(op, head)` tests an operation; the first rule of a table that applies decides. `ties` puts the ranges of
    all inputs and of the result into one scale group; `weights` quantizes the operation's weight and bias; `inner`
    names tensors inside the operation that are quantized too (the sigmoid of a SiLU). `mirrors` names the
    onnxruntime source that the rule follows.
    """

    name: str
    decision: str
    reason: str
    mirrors: str
    applies: Callable[[TracedOp, HeadPaths], bool]
    ties: bool = False
    weights: bool = False
    inner: tuple[str, ...] = ()


@dataclass(frozen=True)
class RuleTable:
    """The rules of one runtime profile, in order, and its formats."""

    profile: str
    activation: Format
    weight: Format
    rules: tuple[Rule, ...]

    def rule_for(self, op: TracedOp, head: HeadPaths) -> Rule:
        """The first rule that applies; the last rule of a table applies to everything."""
        return next(rule for rule in self.rules if rule.applies(op, head))
