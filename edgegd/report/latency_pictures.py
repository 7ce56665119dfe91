"""A measurement as a picture: the launches against the margin, the latencies, and the device's state over time.

Needs matplotlib; drawn without a display.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from edgegd.atomic_files import replaced_atomically
from edgegd.foreign_text import one_line, printable
from edgegd.latency.measuring.record import Block, Measurement
from edgegd.latency.statistics.verdict import RelativeGate
from edgegd.report.latency_table import change
from edgegd.verdict import Verdict

VERDICT_COLORS = {
    Verdict.PASS: "tab:green",
    Verdict.REGRESSED: "tab:red",
    Verdict.INCONCLUSIVE: "tab:orange",
    Verdict.INVALID: "dimgrey",
}
_TAIL = 0.1  # per cent of the slowest inferences that are cut off: single outliers would leave no room for the rest
_SHARES = (0.1, 1, 10, 50, 100)
_WIDTH, _ROW = 9.0, 3.3  # inches
LEGEND: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "frameon": False, "fontsize": 8}


def draw(measurement: Measurement, gates: Sequence[RelativeGate], path: Path) -> None:
    """Writes `measurement_figure` as PNG."""
    save(measurement_figure(measurement, gates), path)


def measurement_figure(measurement: Measurement, gates: Sequence[RelativeGate]) -> Figure:
    """A diagram of launches for each gate of the measurement's target, then the latencies, then the device.

    Raises ValueError where nothing was measured.
    """
    if not measurement.blocks:
        raise ValueError("nothing was measured: there is no block to draw")
    own = [gate for gate in gates if gate.target == measurement.target and gate.model in measurement.models]
    figure = Figure(figsize=(_WIDTH, _ROW * (len(own) + 2)), layout="constrained")
    axes = figure.subplots(len(own) + 2, 1, squeeze=False)[:, 0]
    for axis, gate in zip(axes, own, strict=False):
        draw_launches(axis, measurement, gate)
    draw_distribution(axes[-2], measurement)
    draw_device(axes[-1], measurement)
    partial = "" if measurement.complete else ", partial"
    title = f"{measurement.target}, {measurement.started or 'date not recorded'}{partial}"
    figure.suptitle(one_line(title), fontsize=11)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, atomically, at 120 dots an inch."""
    for text in figure.findobj(Text):  # names are others' text: no formulas, no control characters
        assert isinstance(text, Text)
        text.set_parse_math(False)
        text.set_text(printable(text.get_text()))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_atomically(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary), metadata={"Software": "edgegd"})


def draw_launches(axis: Axes, measurement: Measurement, gate: RelativeGate) -> None:
    """Every quad and launch as its change of latency in per cent, with the margin, the estimate and its bounds."""
    color = VERDICT_COLORS[gate.verdict]
    quads = measurement.log_ratios(gate.model)
    for number, values in quads.items():
        axis.scatter(
            [number + 1] * len(values),
            _percent(np.exp(values)),
            s=8,
            color="dimgrey",
            zorder=4,
            label="quads" if number == next(iter(quads)) else None,
        )
    medians = [float(np.exp(np.median(values))) for values in quads.values()]
    axis.scatter([number + 1 for number in quads], _percent(medians), s=26, color=color, zorder=3, label="launches")
    axis.axhline(0, color="black", linewidth=0.8)
    axis.axhline(
        100 * gate.margin, color="tab:red", linestyle="--", linewidth=1, label=f"margin {change(1 + gate.margin)}"
    )
    if gate.ratio is not None:
        axis.axhline(_percent(gate.ratio), color=color, linewidth=1, label=f"estimate {change(gate.ratio)}")
    if gate.low is not None and gate.high is not None:
        axis.axhspan(
            _percent(gate.low),
            _percent(gate.high),
            color=color,
            alpha=0.15,
            label=f"bounds {change(gate.low)} to {change(gate.high)}",
        )
    if not quads:
        _note(axis, "no launch can be used")
    axis.set(
        title=one_line(f"{gate.verdict.value}: {gate.model} against {gate.reference}"),
        xlabel="launch",
        ylabel="change of latency, %",
    )
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(True, axis="y", color="whitesmoke")
    axis.legend(**LEGEND)


def draw_distribution(axis: Axes, measurement: Measurement) -> None:
    """The share of inferences slower than a latency, a line a model, of the quads that count; from 100 to 0.1 %.

    The share is on a logarithmic axis, so that the tail has as much room as the rest.
    """
    discarded = measurement.discarded()
    ends = []
    for model in measurement.models:
        durations = [
            block.durations_ns
            for block in measurement.blocks
            if block.model == model and (block.launch, block.quad) not in discarded
        ]
        if not durations:
            continue
        sorted_ms = np.sort(np.concatenate(durations)) / 1e6
        slower = 100 * (1 - np.arange(len(sorted_ms)) / len(sorted_ms))  # per cent at least as slow as each
        median, p90, p99 = np.percentile(sorted_ms, [50, 90, 99])
        axis.step(
            sorted_ms,
            slower,
            where="pre",
            linewidth=1.3,
            label=f"{one_line(model)}\nmedian {median:.2f} ms\np90 {p90:.2f}, p99 {p99:.2f}",
        )
        ends.append((float(sorted_ms[0]), float(np.percentile(sorted_ms, 100 - _TAIL))))
    if ends:
        low, high = min(first for first, _ in ends), max(last for _, last in ends)
        room = 0.02 * (high - low) or 0.02 * high
        axis.set_xlim(low - room, high + room)
        axis.legend(**LEGEND)
    else:
        _note(axis, "every quad was discarded")
    axis.set(title="latency of single inferences", xlabel="ms", ylabel="at least as slow, % of inferences")
    axis.set_yscale("log")
    axis.set_ylim(_TAIL, 115)
    axis.set_yticks(_SHARES, [f"{share:g}" for share in _SHARES])
    axis.minorticks_off()
    axis.grid(True, axis="y", color="whitesmoke")


def draw_device(axis: Axes, measurement: Measurement) -> None:
    """Temperature of every zone and mean frequency of the cores before and after each block; blocks with faults shaded.

    Where the device tells neither, a note says so.
    """
    clock = _Clock(measurement.blocks)
    states = [
        (when, state)
        for block in measurement.blocks
        for when, state in zip(clock.span(block), (block.before, block.after), strict=True)
    ]
    zones = _series(states, lambda state: state.get("temperature_c") or {})
    cores = _series(
        states,
        lambda state: {"mean of cores": mean(state["frequency_khz"]) / 1e6} if state.get("frequency_khz") else {},
    )
    handles: list[Artist] = []
    for zone, points in zones.items():
        handles += axis.plot(*zip(*points, strict=True), linewidth=1.2, label=one_line(zone))
    axis.set(title="the device during the measurement", xlabel=clock.unit, ylabel="temperature, °C")
    if cores:
        frequency = axis.twinx() if zones else axis
        for name, points in cores.items():
            handles += frequency.plot(
                *zip(*points, strict=True), color="black", linewidth=0.9, linestyle=":", label=f"frequency, {name}"
            )
        frequency.set_ylabel("frequency, GHz")
        frequency.set_ylim(bottom=0)
    faulty = [block for block in measurement.blocks if block.faults]
    shaded = [
        axis.axvspan(*clock.span(block), color="tab:red", alpha=0.25, linewidth=0, label="block with a fault")
        for block in faulty
    ]
    handles += shaded[:1]
    missing = [what for what, found in (("temperature", zones), ("frequency", cores)) if not found]
    if missing:
        _note(axis, f"the device does not tell its {' or '.join(missing)}", height=0.06 if zones or cores else 0.5)
    if not zones and not cores:
        axis.set(xlim=(0, max(clock.span(measurement.blocks[-1])[1], 1e-9)), ylabel="", yticks=[])
    if handles:
        axis.legend(handles=handles, **(LEGEND | {"bbox_to_anchor": (1.09 if zones and cores else 1.01, 1.0)}))


class _Clock:
    """When blocks began and ended: in minutes since the first, or by their number where a device tells no time."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._times = {
            id(block): tuple(state.get("clocks_ns", {}).get("monotonic") for state in (block.before, block.after))
            for block in blocks
        }
        self._tells = all(time is not None for times in self._times.values() for time in times)
        self._numbers = {id(block): float(number) for number, block in enumerate(blocks, start=1)}
        self._first = self._times[id(blocks[0])][0]
        self.unit = "minutes since the first block" if self._tells else "block"

    def span(self, block: Block) -> tuple[float, float]:
        """Begin and end."""
        if not self._tells:
            number = self._numbers[id(block)]
            return number - 0.5, number + 0.5
        begin, end = self._times[id(block)]
        return (begin - self._first) / 60e9, (end - self._first) / 60e9


def _series(states: Sequence[tuple[float, Mapping[str, Any]]], values: Any) -> dict[str, list[tuple[float, float]]]:
    """name -> (time, value) of the states that have a value of this name."""
    found: dict[str, list[tuple[float, float]]] = {}
    for when, state in states:
        for name, value in values(state).items():
            found.setdefault(name, []).append((when, float(value)))
    return found


def _percent(ratios: Any) -> Any:
    return 100 * (np.asarray(ratios) - 1)


def _note(axis: Axes, text: str, height: float = 0.5) -> None:
    axis.text(0.5, height, text, transform=axis.transAxes, ha="center", va="center", color="dimgrey")
