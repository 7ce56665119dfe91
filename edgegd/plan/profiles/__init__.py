"""Rule tables: one a runtime profile. A table says of every traced operation whether it runs in integers and why."""

from edgegd.plan.profiles.arm64 import ARM64
from edgegd.plan.profiles.arm64_nodot import ARM64_NODOT
from edgegd.plan.profiles.table import ABSORBED, EXACT, FLOAT, INTEGER, MOVE, Rule, RuleTable
from edgegd.plan.profiles.x86_avx2 import X86_AVX2
from edgegd.plan.profiles.x86_vnni import X86_VNNI

TABLES = {table.profile: table for table in (X86_VNNI, X86_AVX2, ARM64, ARM64_NODOT)}
"""Profiles by name. A CPU needs the first that says it runs on it: x86-avx2 is for what x86-vnni leaves, arm64-nodot
for what arm64 leaves."""

__all__ = [
    "ABSORBED",
    "ARM64",
    "ARM64_NODOT",
    "EXACT",
    "FLOAT",
    "INTEGER",
    "MOVE",
    "TABLES",
    "X86_AVX2",
    "X86_VNNI",
    "Rule",
    "RuleTable",
]
