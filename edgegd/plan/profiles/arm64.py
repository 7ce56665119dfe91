"""ARM64 with the dot product (Cortex-A76, Raspberry Pi 5): int8 activations and int8 weights (S8S8).

The codes are those of uint8 less 128. SDOT multiplies signed by signed (core/mlas/lib/aarch64/); uint8 activations cost
5 % more instructions there, and x86 would rewrite int8 ones to uint8 (docs/results.md, ARM64 by counted instructions).
"""

from collections.abc import Collection

from edgegd.plan.formats import INT8_ACTIVATION, INT8_WEIGHT
from edgegd.plan.profiles.placement import PLACEMENT_RULES
from edgegd.plan.profiles.table import RuleTable

ARM_64 = ("aarch64", "arm64")
DOT_PRODUCT = frozenset({"asimddp", "i8mm"})


def _has_dot_product(architecture: str, instruction_sets: Collection[str]) -> bool:
    # macOS and Windows say arm64 and list no sets; what they run on has the dot product. Linux says aarch64.
    return architecture == "arm64" or (architecture in ARM_64 and bool(DOT_PRODUCT & set(instruction_sets)))


ARM64 = RuleTable(
    "arm64",
    activation=INT8_ACTIVATION,
    weight=INT8_WEIGHT,
    rules=PLACEMENT_RULES,
    runs_on=_has_dot_product,
    runs_signed=True,
)
