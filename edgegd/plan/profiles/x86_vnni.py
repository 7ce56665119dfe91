"""x86 with VNNI: uint8 activations, int8 weights (U8S8), summed in int32 by one instruction."""

from collections.abc import Collection

from edgegd.plan.formats import INT8_WEIGHT, UINT8_ACTIVATION
from edgegd.plan.profiles.placement import PLACEMENT_RULES
from edgegd.plan.profiles.table import RuleTable

X86_64 = ("x86_64", "amd64")


def _has_vnni(architecture: str, instruction_sets: Collection[str]) -> bool:
    return architecture in X86_64 and bool({"avx512_vnni", "avx_vnni"} & set(instruction_sets))


X86_VNNI = RuleTable(
    "x86-vnni", activation=UINT8_ACTIVATION, weight=INT8_WEIGHT, rules=PLACEMENT_RULES, runs_on=_has_vnni
)
