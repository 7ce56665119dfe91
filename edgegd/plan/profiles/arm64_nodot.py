"""ARM64 without the dot product (Cortex-A53 and A72, Raspberry Pi 3 and 4): uint8 activations, int8 weights (U8S8).

The formats of x86-vnni. MLAS widens all codes to 16 bits there (core/mlas/lib/qgemm_kernel_neon.cpp); its kernels for
uint8 take 13 % fewer instructions than those for int8 (docs/results.md, ARM64 by counted instructions).
"""

from collections.abc import Collection

from edgegd.plan.formats import INT8_WEIGHT, UINT8_ACTIVATION
from edgegd.plan.profiles.arm64 import ARM_64
from edgegd.plan.profiles.placement import PLACEMENT_RULES
from edgegd.plan.profiles.table import RuleTable


def _is_arm64(architecture: str, instruction_sets: Collection[str]) -> bool:
    return architecture in ARM_64


ARM64_NODOT = RuleTable(
    "arm64-nodot",
    activation=UINT8_ACTIVATION,
    weight=INT8_WEIGHT,
    rules=PLACEMENT_RULES,
    runs_on=_is_arm64,
    runs_signed=True,
)
