"""Pictures of a measurement. Oracle: the measurement's own numbers, found again in what matplotlib was given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from edgegd.latency.baseline.history import HistoryEntry
from edgegd.latency.measuring.record import Measurement
from edgegd.report.latency_pictures import draw, draw_device, draw_distribution, draw_launches, measurement_figure
from edgegd.report.latency_table import Gate
from edgegd.report.trend_picture import draw_trend, trend_figure

THROTTLED = (1, 1)  # launch and quad of the block that was throttled


@pytest.fixture
def axis() -> Axes:
    return Figure().subplots()


def labelled(axis: Axes) -> dict[str, Any]:
    """What the legend names."""
    handles, labels = axis.get_legend_handles_labels()
    return dict(zip(labels, handles, strict=True))


def notes(axis: Axes) -> list[str]:
    return [text.get_text() for text in axis.texts]


def without(measurement: Measurement, *keys: str) -> Measurement:
    """The measurement of a device that does not tell these parts of its state."""

    def cut(state: Any) -> dict[str, Any]:
        return {key: value for key, value in state.items() if key not in keys}

    return replace(
        measurement, blocks=tuple(replace(b, before=cut(b.before), after=cut(b.after)) for b in measurement.blocks)
    )


def overlapping(figure: Figure) -> Iterator[tuple[str, str]]:
    """Pairs of texts that share pixels, and texts that leave the picture: of those that are really drawn."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine("none")  # everything is in its place: what is drawn now is what is seen
    drawn: set[Text] = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", lambda text, renderer: drawn.add(text))
        canvas.draw()
    boxes = {
        text: text.get_window_extent(canvas.get_renderer()).padded(-1)
        for text in drawn
        if text.get_visible() and text.get_text()
    }
    assert len(boxes) > 20
    for text, box in boxes.items():
        if box.x0 < 0 or box.y0 < 0 or box.x1 > figure.bbox.x1 or box.y1 > figure.bbox.y1:
            yield text.get_text(), "outside"
    for (one, first), (other, second) in combinations(boxes.items(), 2):
        if first.overlaps(second):
            yield one.get_text(), other.get_text()


def test_launches_are_drawn_where_they_were_measured(
    axis: Axes, measurement: Measurement, gates: dict[str, Gate]
) -> None:
    draw_launches(axis, measurement, gates["regressed"])
    shown = labelled(axis)
    expected = 100 * (np.exp(measurement.launch_ratios("candidate")) - 1)
    np.testing.assert_allclose(shown["launches"].get_offsets(), np.stack([np.arange(1, 13), expected], axis=1))
    assert shown["margin +3.0 %"].get_ydata()[0] == pytest.approx(3.0)
    assert shown["estimate +4.8 %"].get_ydata()[0] == pytest.approx(4.81)
    bounds = shown["bounds +3.9 % to +5.6 %"].get_extents().transformed(axis.transData.inverted())
    assert (bounds.y0, bounds.y1) == pytest.approx((3.92, 5.61))
    assert axis.get_title() == "REGRESSED: candidate against shipped" and axis.get_ylabel().endswith("%")
    of_launch = [len(points.get_offsets()) for points in axis.collections if len(points.get_offsets()) < 12]
    assert of_launch == [4, 3] + 10 * [4]  # the discarded quad is no point


def test_a_refused_gate_is_drawn_without_an_estimate(
    axis: Axes, measurement: Measurement, gates: dict[str, Gate]
) -> None:
    refused = replace(gates["refused"], target="pi5")
    draw_launches(axis, replace(measurement, blocks=measurement.blocks[:3]), refused)
    assert notes(axis) == ["no launch can be used"]
    assert not [label for label in labelled(axis) if label.startswith(("estimate", "bounds"))]


def test_latencies_are_those_of_the_quads_that_count(axis: Axes, measurement: Measurement) -> None:
    draw_distribution(axis, measurement)
    lines = {label.split("\n")[0]: (label, line) for label, line in labelled(axis).items()}
    for model in measurement.models:
        kept = (
            np.sort(
                np.concatenate(
                    [b.durations_ns for b in measurement.blocks if b.model == model and (b.launch, b.quad) != THROTTLED]
                )
            )
            / 1e6
        )
        label, line = lines[model]
        np.testing.assert_array_equal(line.get_xdata(), kept)
        latencies, first = np.unique(kept, return_index=True)
        slower = [100 * np.mean(kept >= latency) for latency in latencies]
        np.testing.assert_allclose(line.get_ydata()[first], slower)
        assert f"median {np.median(kept):.2f} ms" in label and f"p99 {np.percentile(kept, 99):.2f}" in label
    assert axis.get_xlabel() == "ms" and axis.get_yscale() == "log"


def test_only_discarded_quads_leave_a_note(axis: Axes, measurement: Measurement) -> None:
    draw_distribution(
        axis, replace(measurement, blocks=tuple(replace(b, faults=("throttled: CPU",)) for b in measurement.blocks))
    )
    assert notes(axis) == ["every quad was discarded"] and not axis.lines


def test_the_device_is_drawn_over_time_with_its_faults(axis: Axes, measurement: Measurement) -> None:
    draw_device(axis, measurement)
    (other,) = [one for one in axis.figure.axes if one is not axis]
    zones = {line.get_label(): line for line in axis.lines}
    assert set(zones) == {"cpu-thermal", "soc"} and notes(axis) == []
    first, last = measurement.blocks[0], measurement.blocks[-1]
    minutes = (last.after["clocks_ns"]["monotonic"] - first.before["clocks_ns"]["monotonic"]) / 60e9
    assert zones["soc"].get_xdata()[-1] == pytest.approx(minutes) and zones["soc"].get_xdata()[0] == 0
    assert zones["soc"].get_ydata()[-1] == last.after["temperature_c"]["soc"]
    assert sorted(set(other.lines[0].get_ydata())) == pytest.approx([1.5, 2.4])
    (fault,) = axis.patches
    begin = (measurement.blocks[20].before["clocks_ns"]["monotonic"] - first.before["clocks_ns"]["monotonic"]) / 60e9
    left = fault.get_window_extent().transformed(axis.transData.inverted()).x0  # a Polygon before matplotlib 3.9
    assert left == pytest.approx(begin) and fault.get_label() == "block with a fault"
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("minutes since the first block", "temperature, °C")
    assert other.get_ylabel() == "frequency, GHz"


@pytest.mark.parametrize(
    ("keys", "note"),
    [
        (("temperature_c", "frequency_khz"), "the device does not tell its temperature or frequency"),
        (("frequency_khz",), "the device does not tell its frequency"),
        (("temperature_c",), "the device does not tell its temperature"),
    ],
    ids=["neither", "no frequency", "no temperature"],
)
def test_what_the_device_does_not_tell_is_said(
    axis: Axes, measurement: Measurement, keys: tuple[str, ...], note: str
) -> None:
    draw_device(axis, without(measurement, *keys))
    assert notes(axis) == [note]
    label = "temperature, °C" if "temperature_c" not in keys else "" if len(keys) == 2 else "frequency, GHz"
    assert axis.get_ylabel() == label


def test_a_device_without_clocks_is_drawn_by_block(axis: Axes, measurement: Measurement) -> None:
    draw_device(axis, without(measurement, "clocks_ns"))
    assert axis.get_xlabel() == "block" and axis.lines[0].get_xdata()[-1] == len(measurement.blocks) + 0.5


def test_one_diagram_a_gate_of_this_target(measurement: Measurement, gates: dict[str, Gate]) -> None:
    figure = measurement_figure(measurement, [gates["regressed"], gates["passed"]])  # the other is of target `server`
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == [
        "REGRESSED: candidate against shipped",
        "latency of single inferences",
        "the device during the measurement",
    ]
    partial = measurement_figure(replace(measurement, complete=False), [])
    assert "partial" in partial.get_suptitle() and "partial" not in figure.get_suptitle()


@pytest.mark.parametrize(
    "keys",
    [(), ("frequency_khz",), ("temperature_c", "frequency_khz", "clocks_ns")],
    ids=["all told", "no frequency", "nothing told"],
)
def test_no_text_lies_on_another(measurement: Measurement, gates: dict[str, Gate], keys: tuple[str, ...]) -> None:
    assert list(overlapping(measurement_figure(without(measurement, *keys), [gates["regressed"]]))) == []


def test_the_file_is_a_png_and_nothing_is_left_beside_it(
    measurement: Measurement, gates: dict[str, Gate], tmp_path: Path
) -> None:
    draw(measurement, [gates["regressed"]], tmp_path / "pictures" / "gate.png")
    (only,) = (tmp_path / "pictures").iterdir()
    assert only.name == "gate.png" and only.read_bytes().startswith(b"\x89PNG\r\n")
    with pytest.raises(ValueError, match="nothing was measured"):
        draw(replace(measurement, blocks=()), [], tmp_path / "gate.png")


def entry(day: int, verdict: str, target: str = "pi5", **changed: Any) -> HistoryEntry:
    values = {
        "date": f"2026-01-{day:02d}T12:00:00+00:00",
        "target": target,
        "fingerprint": "f",
        "baseline_ms": 10.0,
        "candidate_ms": 10.0 + day / 10,
        "ratio": 1.0,
        "verdict": verdict,
        "candidate_sha256": "c" * 64,
        "baseline_sha256": "b" * 64,
    }
    return HistoryEntry(**(values | changed))


def test_a_trend_breaks_where_latencies_are_not_comparable(tmp_path: Path) -> None:
    entries = [
        entry(1, "PASS"),
        entry(3, "REGRESSED"),
        entry(5, "PASS", fingerprint="g"),
        entry(6, "PASS", "server"),
        entry(7, "INVALID", fingerprint="g", candidate_ms=None, baseline_ms=None),
        entry(9, "PASS", fingerprint="g"),
        entry(11, "PASS", fingerprint="g", baseline_sha256="e" * 64),
    ]
    figure = trend_figure("shipped", entries)
    first, second = figure.axes
    assert (first.get_title(), second.get_title()) == ("pi5", "server")
    candidates = [list(line.get_ydata()) for line in first.lines if line.get_color() == "tab:blue"]
    assert candidates == [[10.1, 10.3], [10.5, 10.9], [11.1]]
    assert notes(first) == ["device or settings changed", "new baseline"] and notes(second) == []
    assert {"PASS", "REGRESSED", "INVALID, nothing measured"} < set(labelled(first))
    assert list(overlapping(figure)) == []
    draw_trend("shipped", entries, tmp_path / "trend.png")
    assert (tmp_path / "trend.png").read_bytes().startswith(b"\x89PNG\r\n")
    with pytest.raises(ValueError, match="no gate"):
        trend_figure("shipped", [])


def test_names_are_no_formulas(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    from edgegd.report.latency_pictures import save

    figure = Figure()
    figure.suptitle("$\\frac{x$ \x1b[2J")
    save(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000
