"""The history of a baseline's gates as a picture: a diagram a target. Needs matplotlib; drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from edgegd.foreign_text import one_line
from edgegd.latency.baseline.history import HistoryEntry
from edgegd.report.baseline_table import break_reason
from edgegd.report.latency_pictures import LEGEND, VERDICT_COLORS, save


def draw_trend(name: str, entries: Sequence[HistoryEntry], path: Path) -> None:
    """Writes `trend_figure` as PNG."""
    save(trend_figure(name, entries), path)


def trend_figure(name: str, entries: Sequence[HistoryEntry]) -> Figure:
    """A diagram a target: median latencies of the candidates, and of the baseline beside them, over the gates' dates.

    Lines connect what is comparable: they end where the device, its settings or the baseline changed. Raises
    ValueError where there is no entry.
    """
    if not entries:
        raise ValueError("no gate to draw")
    targets = list(dict.fromkeys(entry.target for entry in entries))
    figure = Figure(figsize=(9.0, 3.3 * len(targets)), layout="constrained")
    axes = figure.subplots(len(targets), 1, squeeze=False)[:, 0]
    for axis, target in zip(axes, targets, strict=True):
        _draw_target(axis, [entry for entry in entries if entry.target == target])
        axis.set_title(one_line(target))
    figure.suptitle(f"gates against the baseline {one_line(name)}", fontsize=11)
    return figure


def _draw_target(axis: Axes, entries: Sequence[HistoryEntry]) -> None:
    segments: list[list[HistoryEntry]] = []
    for before, entry in zip([None, *entries[:-1]], entries, strict=True):
        reason = break_reason(before, entry)
        if before is None or reason:
            segments.append([])
        if reason:
            axis.axvline(_day(entry), color="grey", linestyle=":", linewidth=1)
            axis.annotate(
                reason,
                (_day(entry), 1),
                (-3, -4),
                xycoords=("data", "axes fraction"),
                rotation=90,
                textcoords="offset points",
                fontsize=7,
                ha="right",
                va="top",
                color="dimgrey",
            )
        segments[-1].append(entry)
    for attribute, color in (("baseline_ms", "lightgrey"), ("candidate_ms", "tab:blue")):
        label: str | None = attribute.removesuffix("_ms")
        for segment in segments:
            measured = [entry for entry in segment if getattr(entry, attribute) is not None]
            axis.plot(
                [_day(entry) for entry in measured],
                [getattr(entry, attribute) for entry in measured],
                color=color,
                linewidth=1.2,
                marker=".",
                zorder=2,
                label=label,
            )
            label = None  # one line of the legend
    for verdict, color in VERDICT_COLORS.items():
        judged = [entry for entry in entries if entry.verdict == verdict.value]
        points = [(_day(entry), entry.candidate_ms) for entry in judged if entry.candidate_ms is not None]
        if points:
            axis.scatter(
                [x for x, _ in points], [y for _, y in points], s=28, color=color, zorder=3, label=verdict.value
            )
        without = [_day(entry) for entry in judged if entry.candidate_ms is None]
        if without:
            axis.plot(
                without,
                [0.03] * len(without),
                "x",
                color=color,
                transform=axis.get_xaxis_transform(),
                label=f"{verdict.value}, nothing measured",
            )
    locator = AutoDateLocator(minticks=2, maxticks=8)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    days = [_day(entry) for entry in entries]
    room = max(1.0, 0.05 * (max(days) - min(days)))
    axis.set_xlim(min(days) - room, max(days) + room)
    axis.margins(y=0.15)
    axis.set(xlabel="date of the gate (UTC)", ylabel="median, ms")
    axis.grid(True, axis="y", color="whitesmoke")
    axis.legend(**LEGEND)


def _day(entry: HistoryEntry) -> float:
    return float(date2num(datetime.fromisoformat(entry.date)))  # type: ignore[no-untyped-call]
