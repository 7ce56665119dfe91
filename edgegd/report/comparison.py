"""What trainings of several optimizers support: a table, and a sentence that claims no difference within the noise.

Contenders are compared by the loss of held-out images at the end, seed by seed: the same seed is the same order of
images. A difference from the best one counts where Student's t of its mean over the seeds is beyond the 95 % point for
as many comparisons as are made (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, median, stdev
from typing import Any

import numpy as np
from scipy.stats import t as student_t

from edgegd.report.words import percent

LEVEL = 0.05
Row = dict[str, Any]


def name_of(contender: Row) -> str:
    """`AdamW, batch 16`."""
    batch = contender["batch"]
    return f"{contender['optimizer']}, {'full batch' if batch == 'full' else f'batch {batch}'}"


def changes_of(contender: Row) -> list[float] | None:
    """The change of the held-out loss of each seed; None where one of them diverged."""
    traces = contender["traces"]
    if any(trace["diverged"] for trace in traces):
        return None
    return [trace["losses"][-1] - trace["losses"][0] for trace in traces]


def different(first: Sequence[float], second: Sequence[float], comparisons: int) -> bool | None:
    """Whether two contenders differ, from their values by seed; None from a single seed, which cannot tell."""
    if len(first) < 2:
        return None
    apart = np.array(first) - np.array(second)
    error = float(apart.std(ddof=1)) / len(apart) ** 0.5
    limit = float(student_t.ppf(1 - LEVEL / (2 * comparisons), len(apart) - 1))
    return abs(float(apart.mean())) > limit * error


def sentence(contenders: Sequence[Row], seeds: int, held_out: int) -> str:
    """The best by held-out loss, those that differ from it and those of which nothing can be said."""
    found = {name_of(one): changes_of(one) for one in contenders}
    diverged = [name for name, changes in found.items() if changes is None]
    ended = {name: changes for name, changes in found.items() if changes is not None}
    if not ended:
        return f"Every training diverged: {_listed(diverged)}."
    ranked = sorted(ended, key=lambda name: mean(ended[name]))
    best, others = ranked[0], ranked[1:]
    base = f"{seeds} seeds" if seeds > 1 else "one seed"
    said = [f"{best} ended lowest: held-out loss {_change(ended[best])} from its start ({base}, {held_out} images)."]
    judged = {name: different(ended[name], ended[best], len(others)) for name in others}
    worse = [name for name in others if judged[name]]
    if worse:
        said.append(f"Higher, beyond the noise of the seeds: {_listed([f'{n} ({_change(ended[n])})' for n in worse])}.")
    unknown = [name for name in others if judged[name] is False]
    if unknown:
        alike = _listed([f"{name} ({_change(ended[name])})" for name in unknown])
        said.append(f"Not told apart from it by these seeds: {alike}.")
    if others and seeds < 2:
        said.append("One seed says nothing about differences: repeat with `--seeds 3`.")
    if diverged:
        said.append(f"Diverged: {_listed(diverged)}.")
    return " ".join(said)


HEADERS = ("optimizer", "batch", "rate", "steps", "s", "held-out loss", "mAP50-95", "alpha", "noise scale at the end")


def rows(contenders: Sequence[Row]) -> list[list[str]]:
    """A line per contender: medians of seconds, alpha and noise over the seeds, means of the rest."""
    lines = []
    for one in contenders:
        traces, changes = one["traces"], changes_of(one)
        alphas = [step["alpha"] for trace in traces for step in trace["steps"] if step["alpha"] is not None]
        scales = [trace["noise"]["scale"] for trace in traces if trace["noise"]]
        known = [scale for scale in scales if scale is not None]
        noise = "-" if not scales else "all noise" if 2 * len(known) <= len(scales) else f"{median(known):.0f}"
        maps = [trace["map50_95"] for trace in traces if trace["map50_95"] is not None]
        lines.append(
            [
                one["optimizer"],
                str(one["batch"]),
                f"{one['rate']:.2g}",
                str(max(trace["step_count"] for trace in traces)),
                f"{median(trace['seconds'][-1] for trace in traces):.1f}",
                "diverged" if changes is None else _change(changes),
                percent(mean(maps)) + (f" +- {100 * stdev(maps):.1f}" if len(maps) > 1 else "") if maps else "-",
                f"{median(alphas):+.2f}" if alphas else "-",
                noise,
            ]
        )
    return lines


def _change(changes: Sequence[float]) -> str:
    return f"{mean(changes):+.4f}" + (f" +- {stdev(changes):.4f}" if len(changes) > 1 else "")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
