"""The tables of docs/scale.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from result_file import ROOT, ResultFile, cpu_and_profile
from tabulate import tabulate

TITLES = {"recipe": "the recipe", "sweep": "the best trial's values"}
ENGINES = {"local": "this machine, SIGKILL of the sweep", "ray": "Ray, two nodes, one killed"}


def gain_table() -> str:
    """The recipe and the best trial of a search, on images that no trial saw."""
    entries = ResultFile("sweep_gain").entries
    if not entries:
        return "Not measured yet."
    entry = entries[-1]
    names = list(entry["rows"][0]["means"])
    lines = [
        [TITLES[row["recipe"]], *(_points(part) for n in names for part in (row["means"][n], row["differences"][n]))]
        for row in entry["rows"]
    ]
    headers = ["BCCD at 160 px, 3 epochs, 3 seeds", *(part for n in names for part in (_title(n), "minus the recipe"))]
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True)


def kills_table() -> str:
    """What killed sweeps ended with."""
    lines = [
        [
            ENGINES[entry["engine"]],
            entry["kills"],
            f"{entry['states'].count('complete')} of {len(entry['states'])}",
            entry["points"],
            sum(entry["starts"]) - len(entry["starts"]),
            entry["float_stage_ran"],
            ", ".join(f"{seconds:g}" for seconds in entry.get("seconds_until_no_process", [])) or "-",
        ]
        for entry in ResultFile("sweep_kills").entries
    ]
    headers = [
        "where",
        "kills",
        "trials finished",
        "points",
        "trials started again",
        "float stage ran",
        "no process after s",
    ]
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True)


def steps_table() -> str:
    """A step in two processes, and in four parts, over one of a single process with two threads."""
    result = json.loads((ROOT / "benchmarks/results/data_parallel.json").read_text())
    lines = []
    for row in result["rows"]:
        alone, memory = row["median_ms"]["one process"], row["peak_mb"]
        for name, found in row["over_one_process"].items():
            parts = name.partition(" parts")[0] if name.endswith("parts") else "1"
            before, most = memory[parts]
            lines.append(
                [
                    row["imgsz"],
                    name,
                    f"{row['median_ms'][name]:.0f}",
                    f"{alone:.0f}",
                    f"{found['ratio']:.2f} [{found['low']:.2f}, {found['high']:.2f}]",
                    f"{most - before:.0f}" if name.endswith("parts") else "-",
                    f"{memory['1'][1] - memory['1'][0]:.0f}",
                ]
            )
    headers = ["px", "the step in", "ms", "ms in one process", "ratio", "MB of the steps", "MB in one process"]
    machine = f"CPU: {cpu_and_profile(result['machine'])}; {result['machine']['usable_cores']} virtual cores.\n\n"
    return machine + tabulate(lines, headers, tablefmt="github", disable_numparse=True)


def _title(name: str) -> str:
    return f"mAP50-95 {name.split('.')[1].upper()}"


def _points(mean: Mapping[str, Any] | None) -> str:
    if mean is None:
        return "-"
    value, low, high = (100 * mean[key] for key in ("value", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


TABLES = {"steps": steps_table, "sweep gain": gain_table, "sweep kills": kills_table}
