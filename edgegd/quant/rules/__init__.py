"""Rule tables: one a runtime profile. A table says of every traced operation whether it runs in integers and why."""

from edgegd.quant.rules.table import FLOAT, INTEGER, MOVE, Rule, RuleTable
from edgegd.quant.rules.x86_vnni import X86_VNNI

TABLES = {table.profile: table for table in (X86_VNNI,)}

__all__ = ["FLOAT", "INTEGER", "MOVE", "TABLES", "X86_VNNI", "Rule", "RuleTable"]
