"""What a placement rule is: a test on one traced operation, and what follows for its tensors."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from edgegd.plan.formats import Format
from edgegd.plan.traced_op import TracedOp

INTEGER = "integer"  # runs in an integer kernel: every tensor it reads and its result are quantized
MOVE = "move"  # moves 8-bit codes without arithmetic: the result shares the range of what it reads
ABSORBED = "absorbed"  # done by the kernel before it, which requantizes straight to this operation's result
EXACT = "exact"  # a step of an exact attention: whole numbers and codes, the same on every CPU (plan/attention.py)
FLOAT = "float"  # runs in float32


@dataclass(frozen=True)
class HeadPaths:
    """Where the detection head is: its module path, and the paths of the convolutions that feed the box decoding.

    `query_decoders` are the modules of RT-DETR's head that refine boxes of queries. A model without a detection head
    has an empty path.
    """

    path: str
    box_convolutions: frozenset[str]
    query_decoders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """One placement rule.

    `applies(op, head)` tests an operation; the first rule of a table that applies decides. `reason` may name the
    `{operation}`; `mirrors` names the onnxruntime source that the rule follows.

    `weights`: a convolution, whose weight and bias are quantized where it runs in integers. `inner`: tensors inside
    the operation that are quantized too (the sigmoid of a SiLU). `ties`: all inputs and the result share one range.
    `on_demand`: float where no convolution reads the result, through movements and other such operations at most, and
    where all that it reads is float.
    `absorbs`: a ReLU that is its only reader becomes part of its kernel. `non_negative`: the result has no value below
    zero, so that its zero point is 0; `keeps_sign`: that holds if it holds for all inputs. `fixed_range`: the range of
    the result does not depend on data. `may_be_integer`: a recipe may turn the float rule into an integer one.
    """

    name: str
    decision: str
    reason: str
    mirrors: str
    applies: Callable[[TracedOp, HeadPaths], bool]
    weights: bool = False
    inner: tuple[str, ...] = ()
    ties: bool = False
    on_demand: bool = False
    absorbs: bool = False
    non_negative: bool = False
    keeps_sign: bool = False
    fixed_range: bool = False
    may_be_integer: bool = False


@dataclass(frozen=True)
class RuleTable:
    """The rules of one runtime profile, in order, and its formats.

    `runs_on(architecture, instruction sets)` says whether a CPU is one of those that the profile is for: the
    architecture as `uname -m` names it, in lower case, the sets as /proc/cpuinfo does. The first profile that says so
    is the CPU's own. `runs_signed`: onnxruntime runs int8 activations in integers on these CPUs.
    """

    profile: str
    activation: Format
    weight: Format
    rules: tuple[Rule, ...]
    runs_on: Callable[[str, Collection[str]], bool]
    runs_signed: bool = False

    def rule_for(self, op: TracedOp, head: HeadPaths, *, absorbed: bool = True) -> Rule:
        """The first rule that applies; the last rule of a table applies to everything.

        `absorbed=False` passes over rules that need a kernel before the operation which takes it in.
        """
        return next(rule for rule in self.rules if rule.applies(op, head) and (absorbed or rule.decision != ABSORBED))
