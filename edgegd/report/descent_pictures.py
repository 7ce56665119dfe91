"""Pictures of a descent, from its telemetry."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgegd.report.blocks import Table
from edgegd.report.picture import Heat, Number, Panel, Picture, Series, rounded
from edgegd.report.telemetry import Steps, column, group_size, is_number, kept_probes, mean, quantile, thinned

_MOVED = 5
"""Ranges that are drawn one by one: those that moved the most."""
_BIN = 0.2
_ENDS = (-2.0, 2.0)
"""Bins of the histogram of step lengths; what lies outside counts in the first or the last."""
_STEP = "step"


def step_pictures(
    steps: Steps, settings: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]], **maps: Any
) -> Iterator[Picture]:
    """Loss with mAP, learning rates and gradients. `settings` are the recipe's of training, `epochs` those of
    descent.json; `maps` are start_map50_95, fp32 (None where not comparable) and the `prefix` of the pictures' names.
    """
    if not steps.rows:
        return
    prefix = maps.get("prefix", "")
    groups = thinned(steps.rows)
    x = rounded([group[-1][_STEP] for group in groups])
    shown: dict[str, Any] = {"x_limits": (0.0, float(steps.rows[-1][_STEP]))}
    size = group_size(steps.rows)
    reduced = f" Each point is the mean of {size} steps." if size > 1 else ""
    names = ["loss", *steps.parts]
    losses = [Series(name, x, rounded(column(groups, _value(name)))) for name in names]
    panels = [Panel(_STEP, "loss per image", losses, **shown), *_map_panel(steps, epochs, maps)]
    text = f"The loss that is minimized, per image.{reduced}"
    yield Picture(f"{prefix}loss", "Loss and its parts, and mAP after each epoch", text, panels)
    if rates := _by_name(groups, x, "lr"):
        text = f"Of each parameter group: scales learn by their logarithms, zero points in codes.{reduced}"
        panels = [Panel(_STEP, "learning rate", rates, logarithmic=True, **shown)]
        yield Picture(f"{prefix}rates", "Learning rates", text, panels)
    if norms := _by_name(groups, x, "gradient"):
        clip = settings.get("grad_clip")
        marks = [("train.grad_clip", float(clip))] if is_number(clip) else []
        shares = rounded([_percent(one) for one in column(groups, _value("clipped"))])
        clipped = Panel(_STEP, "clipped, %", [Series("clipped steps, %", x, shares)], y_limits=(-2.0, 102.0), **shown)
        text = f"The norm of the gradient before clipping, of each parameter group and of all of them.{reduced}"
        panels = [Panel(_STEP, "norm", norms, logarithmic=True, marks=marks, **shown), clipped]
        yield Picture(f"{prefix}gradient", "Gradient and clipping", text, panels)


def probe_pictures(steps: Steps, settings: Mapping[str, Any]) -> Iterator[Picture]:
    """Step lengths, noise scale, ranges, codes, and updates by layer; nothing where no step was probed."""
    found = kept_probes(steps)
    if not found:
        return
    left_out = len(steps.probes) - len(found)
    words = f"{len(found)} of {len(steps.probes)} probes" if left_out else counted(len(found), "probe")
    probes = _Probes(
        rounded([step for step, _ in found]),
        [detail for _, detail in found],
        (0.0, float(steps.rows[-1][_STEP])),
        f" Of {words}.",
    )
    yield from _step_lengths(steps)
    yield from _noise(probes, settings)
    yield from _ranges(probes)
    yield from _codes(probes)
    yield from _updates(probes)


@dataclass(frozen=True)
class _Probes:
    """The steps `x` that are drawn, what was seen at them, the steps of the whole descent, and how many those are."""

    x: Sequence[Number]
    details: Sequence[dict[str, Any]]
    limits: tuple[float, float]
    words: str

    def panel(self, label: str, series: Sequence[Series], **more: Any) -> Panel:
        """A panel along the steps of the whole descent."""
        return Panel(_STEP, label, series, x_limits=self.limits, **more)


def seconds_table(steps: Steps) -> Table | None:
    """Mean time of each part of a step, and its share."""
    parts = list(dict.fromkeys(name for row in steps.rows for name in row.get("seconds", {})))
    means = {name: mean(row.get("seconds", {}).get(name) for row in steps.rows) or 0.0 for name in parts}
    whole = sum(means.values())
    if not whole:
        return None
    rows = [[name, f"{1000 * value:.1f}", f"{100 * value / whole:.1f} %"] for name, value in means.items()]
    return Table(["part of a step", "mean ms", "share"], rows, ("left", "right", "right"))


def counted(number: int, name: str) -> str:
    """A number of things in words."""
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def _map_panel(steps: Steps, epochs: Sequence[Mapping[str, Any]], maps: Mapping[str, Any]) -> list[Panel]:
    ends: dict[Any, Any] = {row["epoch"]: row[_STEP] for row in steps.rows}
    known = [(ends[epoch["epoch"]], epoch["map50_95"]) for epoch in epochs if epoch["epoch"] in ends]
    start = maps.get("start_map50_95")
    points = [*([(0, start)] if is_number(start) else []), *known]
    if not points:
        return []
    marks = [("FP32 in onnxruntime", 100 * maps["fp32"])] if is_number(maps.get("fp32")) else []
    y = rounded([_percent(value) for _, value in points])
    series = Series("mAP50-95", rounded([at for at, _ in points]), y, "points")
    return [Panel(_STEP, "mAP50-95", [series], marks=marks, x_limits=(0.0, float(steps.rows[-1][_STEP])))]


def _by_name(groups: Any, x: Sequence[Number], key: str) -> list[Series]:
    names = list(dict.fromkeys(name for group in groups for row in group for name in row.get(key, {})))
    columns = {name: column(groups, _value(key, name)) for name in names}
    return [Series(name, x, rounded(values)) for name, values in columns.items()]


def _value(*path: str) -> Callable[[dict[str, Any]], Any]:
    """What a row has at a path of keys; None where it ends before."""

    def value(row: Any) -> Any:
        for key in path:
            row = row.get(key) if isinstance(row, dict) else None
        return row

    return value


def _step_lengths(steps: Steps) -> Iterator[Picture]:
    alphas = [detail["step_length"].get("all") for _, detail in steps.probes]
    found = [alpha for alpha in alphas if is_number(alpha)]
    if not found:
        return
    low, high = _ENDS
    bins = round((high - low) / _BIN)
    counts = [0] * bins
    for alpha in found:
        counts[min(max(int((alpha - low) // _BIN), 0), bins - 1)] += 1
    centers = rounded([low + (number + 0.5) * _BIN for number in range(bins)])
    text = (
        f"How far {counted(len(found), 'step')} went along the slope, where 0 is the minimum of the loss: below -0.2 "
        f"undershooting, above 0.2 overshooting, above 1 the loss grew. Median {quantile(found, 0.5):.2f}."
    )
    marks = [("", -0.2), ("", 0.2), ("", 1.0)]
    panel = Panel("alpha", "steps", [Series("steps", centers, counts, "bars")], marks=marks, marks_x=True)
    yield Picture("step-length", "Step length", text, [panel])


def _noise(probes: _Probes, settings: Mapping[str, Any]) -> Iterator[Picture]:
    scales = [found if is_number(found) and found > 0 else None for found in map(_value("noise_scale"), probes.details)]
    distances = rounded([_percent(detail["ema_distance"]) for detail in probes.details])
    marks = [("train.batch", float(settings["batch"]))] if is_number(settings.get("batch")) else []
    noise = Series("noise scale", probes.x, rounded(scales), "dots")
    panels = [probes.panel("images", [noise], logarithmic=True, marks=marks)]
    if any(distances):
        distance = Series("distance from the moving average, %", probes.x, distances, "points")
        panels.append(probes.panel("distance, %", [distance]))
    text = (
        "The batch size at which noise and slope of the gradient are equally strong; no point where the batch was all "
        f"noise. Below, how far the weights are from their moving average.{probes.words}"
    )
    yield Picture("noise", "Noise of the gradient", text, panels)


def _ranges(probes: _Probes) -> Iterator[Picture]:
    moved = _octaves([{name: one.get("scale") for name, one in detail["ranges"].items()} for detail in probes.details])
    if not moved or len(probes.x) < 2:
        return
    largest = sorted(moved, key=lambda name: -max(abs(value or 0.0) for value in moved[name]))[:_MOVED]
    series = [_spread("median and 80 % of the ranges", probes.x, list(moved.values()), (0.1, 0.9))]
    series += [Series(name, probes.x, rounded(moved[name])) for name in largest]
    text = (
        f"The scale of each range over its first probed one, in octaves: 1 is twice as wide. The {len(largest)} that "
        f"moved most are drawn one by one.{probes.words}"
    )
    yield Picture("ranges", "Ranges over time", text, [probes.panel("octaves", series)])


def _octaves(scales: Sequence[Mapping[str, Any]]) -> dict[str, list[Number]]:
    """By range, the binary logarithm of its scale over its first one."""
    found = {}
    for name, first in scales[0].items():
        if is_number(first) and first > 0:
            values = [one.get(name) for one in scales]
            found[name] = [math.log2(value / first) if is_number(value) and value > 0 else None for value in values]
    return found


def _codes(probes: _Probes) -> Iterator[Picture]:
    used, clipped, changed = [], [], []
    for detail in probes.details:
        ranges = detail["ranges"].values()
        used.append(_shares(ranges, lambda one: one.get("used")))
        clipped.append(_shares(ranges, _outside))
        changed.append([100 * share for share in detail["codes_changed"].values() if is_number(share)])
    what = (
        ("codes used, %", used, ("half of the ranges use more", 0.5), ("a tenth of the ranges uses less", 0.1)),
        ("values clipped, %", clipped, ("half of the ranges clip less", 0.5), ("the worst range", 1.0)),
        ("codes changed, %", changed, ("half of the layers change less", 0.5), ("the most", 1.0)),
    )
    panels = []
    for label, values, *named in what:
        if any(values):
            columns = [(name, rounded(_quantiles(values, share))) for name, share in named]
            panels.append(probes.panel(label, [Series(name, probes.x, column, "points") for name, column in columns]))
    text = (
        "How many of the 256 codes activations use, how many values lie outside of the ranges, and how many weights "
        f"have another code after the step.{probes.words}"
    )
    if panels:
        yield Picture("codes", "Codes used, clipped and changed", text, panels)


def _updates(probes: _Probes) -> Iterator[Picture]:
    names = [name for name in probes.details[0]["updates"] if not name.endswith(".bias")]
    values = {name: rounded([_log10(detail["updates"].get(name)) for detail in probes.details]) for name in names}
    layers = [name for name in names if any(value is not None for value in values[name])]
    if not layers:
        return
    text = (
        f"The norm of the step over that of the weights, as a power of ten, of {counted(len(layers), 'layer')} from "
        f"the image at the top to the head; layers that do not learn are left out.{probes.words}"
    )
    heat = Heat(layers, probes.x, [values[name] for name in layers])
    yield Picture("updates", "Update over size, by layer", text, [Panel(_STEP, "layer", heat=heat)])


def _spread(name: str, x: Sequence[Number], rows: Sequence[Sequence[Number]], shares: tuple[float, float]) -> Series:
    """The median of the rows' values at each x, with two quantiles."""
    columns = [[value for value in values if value is not None] for values in zip(*rows, strict=True)]
    low, middle, high = (rounded(_quantiles(columns, share)) for share in (shares[0], 0.5, shares[1]))
    return Series(name, x, middle, "band", low, high)


def _shares(ranges: Any, value: Callable[[Any], Any]) -> list[float]:
    return [100 * found for found in map(value, ranges) if is_number(found)]


def _outside(one: dict[str, Any]) -> Number:
    """The share of values below and above a range."""
    shares = [one.get("below"), one.get("above")]
    return sum(filter(is_number, shares)) if any(map(is_number, shares)) else None


def _quantiles(columns: Sequence[Sequence[float]], share: float) -> list[Number]:
    return [quantile(values, share) if values else None for values in columns]


def _log10(value: Any) -> Number:
    return math.log10(value) if is_number(value) and value > 0 else None


def _percent(value: Any) -> Number:
    return 100 * value if is_number(value) else None
