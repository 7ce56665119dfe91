"""The numbers of docs/descent.md, from the committed runs of benchmarks/descent_runs.py."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from result_file import ROOT, ResultFile
from tabulate import tabulate

RESULTS = ROOT / "benchmarks/results/descent"


def runs(question: str) -> dict[str, dict[str, Any]]:
    """The committed runs of a question by name."""
    return {entry["run"]: entry for entry in ResultFile(f"descent/{question}").entries}


def by_epoch(run: dict[str, Any]) -> list[float]:
    """The mean loss of each epoch."""
    epochs = sorted(set(run["epoch"]))
    return [float(np.mean([x for x, e in zip(run["loss"], run["epoch"], strict=True) if e == n])) for n in epochs]


def landscape() -> dict[str, Any]:
    """What `edgegd descent landscape` wrote."""
    return json.loads((RESULTS / "landscape.json").read_text())  # type: ignore[no-any-return]


def optimizers_table() -> str:
    """The last epoch's loss of each optimizer at each rate."""
    found = runs("optimizers")
    rates = list(dict.fromkeys(run["settings"]["lr0"] for run in found.values()))
    kinds = list(dict.fromkeys(name.rpartition(" ")[0] for name in found))
    rows = [[kind, *(f"{by_epoch(found[f'{kind} {rate:g}'])[-1]:.2f}" for rate in rates)] for kind in kinds]
    headers = ["optimizer", *(f"{rate:g}" for rate in rates)]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def batches_table() -> str:
    """What each batch size did with the same images."""
    rows: list[Sequence[str]] = []
    for name, run in runs("batches").items():
        epochs = by_epoch(run)
        last = np.array([x for x, e in zip(run["loss"], run["epoch"], strict=True) if e == max(run["epoch"])])
        spread = f"{last.std():.2f}" if len(last) > 1 else "-"
        took = f"{run['cpu_s']:.0f}"
        rows.append([name, str(len(run["loss"])), f"{epochs[0]:.2f}", f"{epochs[-1]:.2f}", spread, took])
    headers = ["batch", "steps", "loss, epoch 1", "loss, last epoch", "spread of its steps", "CPU s"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def rates_line() -> str:
    """AdamW's losses at the rates of the picture."""
    found = runs("optimizers")
    losses = {rate: by_epoch(found[f"AdamW {rate:g}"]) for rate in (1e-5, 1e-4, 1e-3, 1e-2)}
    return (
        f"At 1e-5 the loss goes from {losses[1e-5][0]:.2f} in the first epoch to {losses[1e-5][-1]:.2f} in the last, "
        f"at 1e-4 from {losses[1e-4][0]:.2f} to {losses[1e-4][-1]:.2f}, at 1e-2 from {losses[1e-2][0]:.2f} to "
        f"{losses[1e-2][-1]:.2f}. At 1e-3 the first epoch is worse, {losses[1e-3][0]:.2f}, and the last one "
        f"{losses[1e-3][-1]:.2f}: a few steps do not tell what a rate is worth."
    )


def groups_line() -> str:
    """How far apart the gradients of the parameter groups are, and how far plain SGD got."""
    gradient = runs("optimizers")["AdamW 0.0001"]["gradient"]
    times = gradient["weights"] / gradient["scales"]
    return (
        f"In the run of AdamW at 1e-4 the median norm of the weights' gradient was {gradient['weights']:.3g}, that of "
        f"the ranges' scales {gradient['scales']:.2g}: about {float(f'{times:.1g}'):,.0f} times less."
    )


def swing_line() -> str:
    """The weight of the picture, and how many others swing."""
    run = runs("ranges")["AdamW"]
    swing, counts, steps = run["swinging"], run["oscillation"], len(run["loss"])
    return (
        f"This weight of `{swing['weight']}` changed its code {swing['flips']} times in {steps} steps, always between "
        f"the same two. Of all {counts['weights']:,} weights, {100 * counts['oscillating'] / counts['weights']:.1f} % "
        "had gone to another code and back within these steps."
    )


def ranges_line() -> str:
    """How far the scales moved."""
    moved = sorted(runs("ranges")["AdamW"]["moved"])
    return (
        f"Of {len(moved)} scales, the one that moved most changed by {100 * moved[-1]:.1f} %, the middle one by "
        f"{100 * moved[len(moved) // 2]:.1f} %."
    )


def validation_line() -> str:
    """Where each of the three curves is at its best."""
    run = runs("validation")["AdamW"]
    losses = by_epoch(run)
    validated = [row["loss"] for row in run["validated"]]
    maps = [100 * row["map50_95"] for row in run["validated"]]
    lowest, best = validated.index(min(validated)), maps.index(max(maps))
    return (
        f"The training loss falls from {losses[0]:.2f} to {losses[-1]:.2f}. The validation loss is lowest, "
        f"{validated[lowest]:.2f}, after epoch {lowest}, and {validated[-1]:.2f} at the end; mAP50-95 is best, "
        f"{maps[best]:.1f}, after epoch {best} (epoch 0 is the calibrated model), and {maps[-1]:.1f} at the end."
    )


def mountain_line() -> str:
    """What the landscape says of itself."""
    return str(landscape()["sentence"])


def cut_line() -> str:
    """What the parabola promised of the step, and what came."""
    cut = landscape()["cut"]
    _, slope, bend = cut["step_length"]["parabola"]
    gained = {}
    for form, losses in cut["losses"].items():
        before, after = np.interp((0, 1), cut["t"], np.array(losses, dtype=float))
        gained[form] = before - after
    return (
        f"Here it promises {-(slope + bend):.3f} less of the loss; {gained['float']:.3f} came in float and "
        f"{gained['quantized']:.3f} under fake quantization, where the next place says something else. The slope at "
        "its start is the straight-through one, which is not that of either curve."
    )


def _wrapped(line: Callable[[], str]) -> Callable[[], str]:
    return lambda: textwrap.fill(line(), 128, break_long_words=False, break_on_hyphens=False)


TABLES: dict[str, Callable[[], str]] = {
    "rates": _wrapped(rates_line),
    "optimizers": optimizers_table,
    "groups": _wrapped(groups_line),
    "batches": batches_table,
    "swing": _wrapped(swing_line),
    "ranges": _wrapped(ranges_line),
    "validation": _wrapped(validation_line),
    "mountain": _wrapped(mountain_line),
    "cut": _wrapped(cut_line),
}
"""What benchmarks/doc_tables.py writes between the markers of docs/descent.md."""
