"""x86 with VNNI: uint8 activations, int8 weights (U8S8), summed in int32 by one instruction."""

from edgegd.plan.formats import INT8_WEIGHT, UINT8_ACTIVATION
from edgegd.plan.profiles.placement import PLACEMENT_RULES
from edgegd.plan.profiles.table import RuleTable

X86_VNNI = RuleTable("x86-vnni", activation=UINT8_ACTIVATION, weight=INT8_WEIGHT, rules=PLACEMENT_RULES)
