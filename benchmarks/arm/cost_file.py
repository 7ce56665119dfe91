"""The committed counts, benchmarks/results/arm_cost.json: storing them, and comparing others with them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import edgegd  # noqa: F401 -- before onnxruntime, which reads the environment that it sets

# isort: split
import onnxruntime
from arm.counting import total
from arm.instruction_classes import ARITHMETIC
from arm.onnx_counts import FileCounts, by_operator
from result_file import ROOT, commit
from tabulate import tabulate

from edgegd.targets.emulation_cache import QEMU_SERIES

BASELINE = ROOT / "benchmarks/results/arm_cost.json"
TOLERANCE = 0.01  # of a total; a class of arithmetic has none
KEY = ("model", "form", "imgsz", "cpu", "file")
_CLASSES = ("dot product", "integer multiply", "float multiply", "other vector", "load", "store")


def entries_of(case: Mapping[str, Any], files: Mapping[str, FileCounts]) -> list[dict[str, Any]]:
    """An entry per file of a case (model, form, imgsz, cpu): instructions of one inference by class and operator."""
    runtime = f"onnxruntime {onnxruntime.__version__}"
    return [
        entry_of(case, title, counted.counts, runtime) | {"operators": by_operator(counted.nodes)}
        for title, counted in files.items()
    ]


def entry_of(case: Mapping[str, Any], title: str, counts: Mapping[str, int], runtime: str) -> dict[str, Any]:
    """An entry of a case (model, form, imgsz, cpu): one file in one runtime."""
    origin = {"runtime": runtime, "qemu": QEMU_SERIES, "commit": commit()}
    return {**case, "file": title, **origin, "instructions": dict(counts)}


def read_entries(path: Path) -> list[dict[str, Any]]:
    """The stored entries; none where there is no file."""
    return json.loads(path.read_text())["entries"] if path.exists() else []


def store(entries: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Puts entries into the file, in the place of those of the same key; a kill leaves the old or the new file."""
    stored = {_key(entry): entry for entry in [*read_entries(path), *entries]}
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps({"schema": 1, "entries": list(stored.values())}, indent=1) + "\n")
    os.replace(temporary, path)


def changes(baseline: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each count that is not the baseline's: any of arithmetic, totals by more than TOLERANCE."""
    stored, lines = {_key(entry): entry for entry in baseline}, []
    for entry in found:
        place = ", ".join(map(str, _key(entry)))
        before = stored.get(_key(entry))
        if before is None:
            lines.append(f"{place}: not in the baseline; --write stores it")
            continue
        if entry["runtime"] != before["runtime"]:
            lines.append(f"{place}: the baseline is of {before['runtime']}, this is {entry['runtime']}")
            continue
        old, new = before["instructions"], entry["instructions"]
        lines += [f"{place}: {name} {old[name]} -> {new[name]}" for name in ARITHMETIC if old[name] != new[name]]
        grown = total(new) / total(old) - 1
        if abs(grown) > TOLERANCE:
            lines.append(f"{place}: total {total(old)} -> {total(new)} ({grown:+.1%})")
    return lines


def _key(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(entry[name] for name in KEY)


def table(entries: Sequence[Mapping[str, Any]], style: str = "simple") -> str:
    """A line per file: millions of instructions, times fewer than FP32, and those of the classes that matter."""
    totals = {_key(entry): total(entry["instructions"]) for entry in entries}
    lines = []
    for entry in entries:
        fp32 = totals.get((*_key(entry)[:-1], "fp32"))
        own = totals[_key(entry)]
        lines.append(
            [
                f"{entry['model']}, {entry['form']}",
                entry["imgsz"],
                entry["cpu"],
                entry["file"],
                f"{own / 1e6:.1f}",
                f"{fp32 / own:.2f}" if fp32 else "",
                *(f"{entry['instructions'][name] / 1e6:.1f}" for name in _CLASSES),
            ]
        )
    headers = ["model", "px", "CPU", "file", "millions", "fewer than FP32", *_CLASSES]
    return tabulate(lines, headers, style, disable_numparse=True)
