"""The rates that lr-range suggests beside the grids of short trainings, from benchmarks/results/lr_range.json."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import mean
from typing import Any

from edgegd.report.comparison import different
from edgegd.report.learning_rate import smoothed, suggest

HEADERS = [
    "set",
    "suggested",
    "by",
    "best of the grid",
    "factor between",
    "not told apart from it",
    "best of each seed",
]
Entry = dict[str, Any]


def rows(entries: Sequence[Entry]) -> list[list[str]]:
    """A line per set: the suggestion, the rate of the lowest mean held-out loss, and how sure that one is."""
    lines = []
    for test in (entry for entry in entries if entry["kind"] == "range"):
        grid = whole_grid(entries, test["set"], test["imgsz"])
        if not grid:
            continue
        best = min(grid, key=lambda rate: mean(grid[rate].values()))
        seeds = sorted(grid[best])
        values = {rate: [of_seed[seed] for seed in seeds] for rate, of_seed in grid.items()}
        alike = [
            f"{rate:g}"
            for rate in grid
            if rate != best and not different(values[rate], values[best], max(len(grid) - 1, 1))
        ]
        each = [f"{min(grid, key=lambda rate, seed=seed: grid[rate][seed]):g}" for seed in seeds]
        curves = test["curves"]
        suggestion = suggest(smoothed([(c["rates"], c["changes"]) for c in curves]), [test["searched"]["weights"]])
        rate = suggestion.rate
        factor = "-" if rate is None else f"{math.exp(abs(math.log(rate / best))):.1f}"
        shown = "-" if rate is None else f"{rate:.2g}"
        told = "one seed cannot tell" if len(seeds) < 2 else ", ".join(alike) or "none"
        lines.append([test["set"], shown, suggestion.rule, f"{best:g}", factor, told, ", ".join(each)])
    return lines


def whole_grid(entries: Sequence[Entry], name: str, imgsz: int) -> dict[float, dict[int, float]]:
    """Rate -> seed -> held-out loss, of the seeds with which every rate of a set was trained."""
    grid: dict[float, dict[int, float]] = defaultdict(dict)
    for entry in entries:
        if (entry["kind"], entry["set"], entry["imgsz"]) == ("training", name, imgsz):
            grid[entry["rate"]][entry["seed"]] = entry["loss"]
    whole = set.intersection(*(set(of_seed) for of_seed in grid.values())) if grid else set()
    return {rate: {seed: of_seed[seed] for seed in whole} for rate, of_seed in sorted(grid.items())} if whole else {}
