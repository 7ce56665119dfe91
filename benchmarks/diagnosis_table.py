"""The table of docs/diagnosis.md: what each rule finds in the runs of benchmarks/results/diagnosis.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from result_file import ResultFile
from tabulate import tabulate

from edgegd.report.diagnosis import RULES


def table(entries: Sequence[dict[str, Any]], style: str) -> str:
    """A row per condition: in how many of its runs the rule made for it found it, and what else was found.

    Runs on which thresholds were chosen are left out.
    """
    names = [rule.name for rule in RULES]
    lines = []
    for condition, rule in dict.fromkeys((entry["condition"], entry["rule"]) for entry in entries):
        runs = [entry for entry in entries if entry["condition"] == condition and entry["judged"]]
        if not runs:
            continue
        found = {name: sum(name in (finding["rule"] for finding in run["findings"]) for run in runs) for name in names}
        others = ", ".join(f"{name} {n}" for name, n in found.items() if n and name != rule)
        live = sum(bool(run["live"]) for run in runs)
        lines.append([condition, rule, f"{found[rule]} of {len(runs)}", others, f"{live} of {len(runs)}"])
    headers = ["what was done", "rule", "found", "also found", "said while it ran"]
    return tabulate(lines, headers, tablefmt=style, disable_numparse=True)


def diagnosis_table() -> str:
    """The table as the page has it."""
    return table(ResultFile("diagnosis").entries, "github")
