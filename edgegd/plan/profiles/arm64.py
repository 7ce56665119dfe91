"""ARM64: int8 activations, whose codes are those of uint8 less 128, and int8 weights (S8S8).

ARM's kernels multiply signed by signed (core/mlas/lib/aarch64/); x86 would rewrite them to uint8.
"""

from collections.abc import Collection

from edgegd.plan.formats import INT8_ACTIVATION, INT8_WEIGHT
from edgegd.plan.profiles.placement import PLACEMENT_RULES
from edgegd.plan.profiles.table import RuleTable


def _is_arm64(architecture: str, instruction_sets: Collection[str]) -> bool:
    return architecture in ("aarch64", "arm64")


ARM64 = RuleTable("arm64", activation=INT8_ACTIVATION, weight=INT8_WEIGHT, rules=PLACEMENT_RULES, runs_on=_is_arm64)
