"""x86 with AVX2 and without VNNI: weights of 7 bits.

VPMADDUBSW adds two products of a uint8 and an int8 in int16 and saturates (core/mlas/lib/x86_64/ConvSymKernelAvx2.S):
2 * 255 * 127 does not fit into int16, 2 * 255 * 63 does.
"""

from collections.abc import Collection

from edgegd.plan.formats import INT7_WEIGHT, UINT8_ACTIVATION
from edgegd.plan.profiles.placement import PLACEMENT_RULES
from edgegd.plan.profiles.table import RuleTable
from edgegd.plan.profiles.x86_vnni import X86_64


def _is_x86(architecture: str, instruction_sets: Collection[str]) -> bool:
    return architecture in X86_64


X86_AVX2 = RuleTable(
    "x86-avx2", activation=UINT8_ACTIVATION, weight=INT7_WEIGHT, rules=PLACEMENT_RULES, runs_on=_is_x86
)
