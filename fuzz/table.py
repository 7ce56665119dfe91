"""The table of a run, and the file that holds every fault."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fuzz.trial import Kind, Result

_COLUMNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("unexpected exits", ("unexpected exit", "undocumented exit", "crash", "traceback")),
    ("hangs", ("hang", "left running")),
    ("over 2 GB", ("memory",)),
    ("files lost or changed", ("file ",)),
    ("success though wrong", ("success",)),
    ("words", ("control", "a forged", "the error does not name", "no word", "--json", "error messages")),
)
"""Column -> how its faults begin; `words` are messages that are missing, too many, or not safe to print."""


def column_of(fault: str) -> str:
    """The column in which a fault is counted."""
    for name, starts in _COLUMNS:
        if fault.startswith(starts) or (name == "words" and fault.endswith("error messages")):
            return name
    return "words"


def table(results: Sequence[Result], kinds: Sequence[Kind]) -> str:
    """A line for each kind: its cases, and how many of them have which fault."""
    from tabulate import tabulate

    rows: list[list[Any]] = []
    total: Counter[str] = Counter()
    for kind in kinds:
        own = [result for result in results if result.case.rpartition("-")[0] == kind.name.replace(" ", "-")]
        found = Counter(name for result in own for name in {column_of(fault) for fault in result.faults})
        total += found
        slowest = max((result.ending.seconds for result in own), default=0)
        largest = max((result.ending.peak_bytes for result in own), default=0)
        rows.append(
            [kind.name, len(own), *(found[name] for name, _ in _COLUMNS), f"{slowest:.1f}", f"{largest / 1e9:.2f}"]
        )
    rows.append(["all", len(results), *(total[name] for name, _ in _COLUMNS), "", ""])
    return tabulate(rows, ["kind", "cases", *(name for name, _ in _COLUMNS), "longest s", "largest GB"])


def write_results(path: Path, results: Sequence[Result], facts: dict[str, Any]) -> None:
    """The facts of the run, every case with its exit code, and every fault with what was printed."""
    cases = [
        {
            "case": one.case,
            "command": one.trial.arguments,
            "input": one.trial.mutation,
            "exit_code": one.ending.exit_code,
            "seconds": round(one.ending.seconds, 2),
            "peak_bytes": one.ending.peak_bytes,
            "faults": one.faults,
            **({"out": one.ending.out[-3000:], "err": one.ending.err[-3000:]} if one.faults else {}),
        }
        for one in results
    ]
    path.write_text(json.dumps({**facts, "cases": cases}, indent=1) + "\n")
