"""The rates that lr-range suggests beside the grids of short trainings, from benchmarks/results/lr_range.json."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from edgegd.report.learning_rate import smoothed, suggest

HEADERS = ["set", "suggested", "by", "best of the grid", "factor between", "within 0.01 of its loss", "other seeds"]
NEAR = 0.01
"""Of the loss per image: rates of a grid as good as this are named."""
Entry = dict[str, Any]


def rows(entries: Sequence[Entry]) -> list[list[str]]:
    """A line per set: the suggestion, the rate of the lowest held-out loss of the first seed's grid, what is near it,
    and which of the rates that other seeds were trained at was the lowest then."""
    lines = []
    for test in (entry for entry in entries if entry["kind"] == "range"):
        grids = grids_of(entries, test["set"], test["imgsz"])
        if not grids:
            continue
        first, *others = grids.values()
        best = min(first, key=lambda rate: first[rate])
        near = [f"{rate:g}" for rate, loss in first.items() if rate != best and loss - first[best] < NEAR]
        curves = [(curve["rates"], curve["changes"]) for curve in test["curves"]]
        found = suggest(smoothed(curves), [test["searched"]["weights"]])
        factor = "-" if found.rate is None else f"{math.exp(abs(math.log(found.rate / best))):.1f}"
        shown = "-" if found.rate is None else f"{found.rate:.2g}"
        again = ["{:g} of {}".format(min(g, key=lambda r, g=g: g[r]), ", ".join(f"{r:g}" for r in g)) for g in others]
        lines.append(
            [test["set"], shown, found.rule, f"{best:g}", factor, ", ".join(near) or "-", "; ".join(again) or "-"]
        )
    return lines


def grids_of(entries: Sequence[Entry], name: str, imgsz: int) -> dict[int, dict[float, float]]:
    """Seed -> rate -> held-out loss of a set's trainings, in ascending order."""
    grids: dict[int, dict[float, float]] = defaultdict(dict)
    for entry in entries:
        if (entry["kind"], entry["set"], entry["imgsz"]) == ("training", name, imgsz):
            grids[entry["seed"]][entry["rate"]] = entry["loss"]
    return {seed: dict(sorted(grids[seed].items())) for seed in sorted(grids)}
