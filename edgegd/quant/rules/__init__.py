"""Rule tables: one a runtime profile. A table says of every traced operation whether it runs in integers and why."""

from edgegd.quant.rules.arm64 import ARM64
from edgegd.quant.rules.table import ABSORBED, EXACT, FLOAT, INTEGER, MOVE, Rule, RuleTable
from edgegd.quant.rules.x86_avx2 import X86_AVX2
from edgegd.quant.rules.x86_vnni import X86_VNNI

TABLES = {table.profile: table for table in (X86_VNNI, X86_AVX2, ARM64)}

__all__ = [
    "ABSORBED",
    "ARM64",
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
