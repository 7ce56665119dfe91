"""What a run leaves: every case as plain data, a file of them, and a table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fuzz.trial import Result

_COLUMNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("unexpected exits", ("unexpected exit", "undocumented exit", "crash", "traceback")),
    ("hangs", ("hang", "left running")),
    ("over 2 GB", ("memory",)),
    ("files lost or changed", ("file ",)),
    ("success though wrong", ("success",)),
)
"""Column -> how its faults begin; all others are of words: missing, too many, or not safe to print."""
_WORDS = "words"


def column_of(fault: str) -> str:
    """The column in which a fault is counted."""
    return next((name for name, starts in _COLUMNS if fault.startswith(starts)), _WORDS)


def as_data(result: Result) -> dict[str, Any]:
    """A case with its exit code; where it has a fault, with what was printed."""
    trial, ending = result.trial, result.ending
    printed = {"out": ending.out[-3000:], "err": ending.err[-3000:]} if result.faults else {}
    return {
        "case": result.case,
        "command": trial.arguments,
        "input": trial.mutation,
        "exit_code": ending.exit_code,
        "seconds": round(ending.seconds, 2),
        "peak_bytes": ending.peak_bytes,
        "faults": result.faults,
        **printed,
    }


def table(cases: Sequence[dict[str, Any]]) -> str:
    """A line for each kind: its cases, and how many of them have which fault."""
    from tabulate import tabulate

    kinds = dict.fromkeys(case["case"].rpartition("-")[0] for case in cases)
    names = [name for name, _ in _COLUMNS] + [_WORDS]
    rows = []
    for kind in [*kinds, ""]:
        own = [case for case in cases if case["case"].rpartition("-")[0] == kind or not kind]
        found = Counter(name for case in own for name in {column_of(fault) for fault in case["faults"]})
        slowest, largest = (max((case[key] for case in own), default=0) for key in ("seconds", "peak_bytes"))
        counts = [found[name] for name in names]
        rows.append([kind or "all", len(own), *counts, f"{slowest:.1f}", f"{largest / 1e9:.2f}"])
    headers = ["kind", "cases", *names, "longest s", "largest GB"]
    return tabulate(rows, headers, disable_numparse=True, colalign=("left", *["right"] * (len(headers) - 1)))


def write(path: Path, cases: Sequence[dict[str, Any]], facts: dict[str, Any]) -> None:
    """The facts of the run, and every case."""
    path.write_text(json.dumps({**facts, "cases": list(cases)}, indent=1) + "\n")
