"""Which learning rate a range test speaks for, and why.

The curves of all seeds are smoothed together over the logarithm of the rate (a Gaussian kernel, Nadaraya 1964); the
errors are those of the kernel's mean. Read from the smoothed curve: the `valley` (where the loss was lowest), the
`steepest` place before it (where it fell fastest per decade), and the `divergence` (from where on it stays above its
start, if it rises beyond its noise at all).

Suggested is the geometric mean of the valley and of half the divergence, or the one that there is. To second order the
loss changes with the rate r by -a r + b r^2: that is back at its start at a / b and lowest at a / 2b, which both are
readings of. It falls fastest per decade at half of that, which is about the mean rate of a training with this peak,
because the schedule's cosine has half of its peak as its mean. For gradient descent on a parabola of curvature h, whose
rates diverge from 2 / h on, the suggestion is about 1 / h, the best.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

WIDTH = 0.15
"""Of the kernel, in decades."""
LEVEL = 0.05
"""How often noise alone may look like a rise, and like a fall, of the loss."""
PLACES = 10
"""Places of a curve that lie apart, more or less: the lowest of them is looked at."""
BELOW_DIVERGENCE = 2.0
BOTH = "valley and divergence"
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Smoothed:
    """A group's curve over all seeds: at each rate the change of the loss, its standard error, and of how many values.

    `counts` are effective ones: of so many values that weigh alike the mean would have this error.
    """

    rates: tuple[float, ...]
    changes: tuple[float, ...]
    errors: tuple[float, ...]
    counts: tuple[float, ...]

    def beyond_noise(self, comparisons: int) -> Numbers:
        """The change from which on each place counts, where as many places are looked at (Student's t, Bonferroni)."""
        freedom = np.maximum(np.array(self.counts) - 1, 1e-3)
        limits: Numbers = student_t.ppf(1 - LEVEL / comparisons, freedom) * np.array(self.errors)
        return limits


@dataclass(frozen=True)
class Suggestion:
    """A rate and the reason for it in a sentence; None where the curves speak for none.

    `rule` says which places it is read from: BOTH, `valley`, `divergence` or `none`; the three places are None where
    the curve has none. At its lowest place the loss had fallen by `gain`, with standard error `error`.
    """

    rate: float | None
    rule: str
    reason: str
    steepest: float | None
    valley: float | None
    divergence: float | None
    gain: float
    error: float


def smoothed(curves: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Smoothed:
    """From (rates, changes) of each seed; ValueError without a value that is finite."""
    points = [(r, c) for rates, changes in curves for r, c in zip(rates, changes, strict=True) if math.isfinite(c)]
    if not points:
        raise ValueError("curves without a value")
    values = np.array(points, dtype=np.float64)
    places, changes = np.log10(values[:, 0]), values[:, 1]
    grid = np.unique(values[:, 0])
    means, errors, counts = [], [], []
    for place in np.log10(grid):
        weights = np.exp(-0.5 * ((places - place) / WIDTH) ** 2)
        weights /= weights.sum()
        mean = float(weights @ changes)
        count = 1 / float(weights @ weights)
        spread = float(weights @ (changes - mean) ** 2) * count / max(count - 1, 1e-9)
        means.append(mean)
        errors.append(math.sqrt(spread / count))
        counts.append(count)
    return Smoothed(tuple(map(float, grid)), tuple(means), tuple(errors), tuple(counts))


def suggest(curve: Smoothed, ends: Sequence[str] = ()) -> Suggestion:
    """The suggestion of one group's curve.

    `ends` say why curves of its rates ended (edgegd.descent.lr_range.Curve): where one is not empty, the highest rate
    is known to diverge, whatever the noise.
    """
    changes = np.array(curve.changes)
    lowest = int(changes.argmin())
    gain, error = -float(changes[lowest]), curve.errors[lowest]
    divergence = _divergence(curve, changes, ends)
    steepest, valley = None, None
    if gain > max(float(curve.beyond_noise(PLACES)[lowest]), 0.0):
        valley = curve.rates[lowest]
        steepest = _steepest(curve, changes, lowest)
    return _chosen(curve, steepest, valley, divergence, gain, error)


def _divergence(curve: Smoothed, changes: Numbers, ends: Sequence[str]) -> float | None:
    has_risen = any(ends) or bool((changes > np.maximum(curve.beyond_noise(PLACES), 0.0)).any())
    if not has_risen or changes[-1] <= 0:
        return curve.rates[-1] if any(ends) else None
    fallen = np.flatnonzero(changes <= 0)
    return curve.rates[int(fallen[-1]) + 1] if fallen.size else curve.rates[0]


def _steepest(curve: Smoothed, changes: Numbers, lowest: int) -> float:
    if lowest == 0:
        return curve.rates[0]
    slopes = np.diff(changes[: lowest + 1]) / np.diff(np.log10(np.array(curve.rates[: lowest + 1])))
    at = int(slopes.argmin())
    return float(math.sqrt(curve.rates[at] * curve.rates[at + 1]))


def _chosen(
    curve: Smoothed,
    steepest: float | None,
    valley: float | None,
    divergence: float | None,
    gain: float,
    error: float,
) -> Suggestion:
    readings, said = [], []
    if valley is not None:
        readings.append(valley)
        said.append(f"the loss was lowest at {valley:.2g} ({gain:.3g} +- {error:.2g} below its start)")
    else:
        said.append("no rate lowered the loss beyond its noise")
    if divergence is not None:
        readings.append(divergence / BELOW_DIVERGENCE)
        said.append(f"from {divergence:.2g} on it stays above its start")
    if not readings:
        reason = f"from {curve.rates[0]:.2g} to {curve.rates[-1]:.2g} the loss changed by no more than its noise"
        return Suggestion(None, "none", reason, None, None, None, gain, error)
    rate = math.exp(sum(map(math.log, readings)) / len(readings))
    rule = BOTH if len(readings) == 2 else "valley" if valley is not None else "divergence"
    return Suggestion(rate, rule, ", ".join(said), steepest, valley, divergence, gain, error)


def keys_of(suggestions: dict[str, Suggestion]) -> dict[str, float]:
    """Recipe keys and the rates suggested for them. Scales and zero points share a key: the lower rate counts."""
    found = {
        "train.lr0": suggestions.get("weights"),
        "train.bias_lr": suggestions.get("biases"),
    }
    keys = {key: one.rate for key, one in found.items() if one and one.rate}
    ranges = [suggestions[group].rate for group in ("scales", "zero_points") if group in suggestions]
    known = [rate for rate in ranges if rate]
    return keys | ({"train.range_lr": min(known)} if known else {})


def sentence(suggestions: dict[str, Suggestion], recipe: dict[str, float], epochs: int = 1) -> str:
    """What the curves support: each group's suggestion beside the recipe's rate; `epochs` are those of a curve."""
    parts = []
    for group, one in suggestions.items():
        title = group.replace("_", " ")
        if one.rate is None:
            parts.append(f"For {title} no rate is suggested: {one.reason}.")
        else:
            times = one.rate / recipe[group] if recipe[group] else math.inf
            beside = f"{times:.2g} times the recipe's" if math.isfinite(times) else "the recipe has 0"
            parts.append(f"For {title} {one.rate:.2g} is suggested ({beside}): {one.reason}.")
    if epochs > 1:
        parts.append(f"A curve sees every image up to {epochs} times: part of what it gains may be memory.")
    return " ".join(parts)


def rows(suggestions: dict[str, Any], recipe: dict[str, float]) -> list[list[str]]:
    """A line per group for a table: the recipe's rate, the suggestion and its rule, and the places of the curve."""
    return [
        [
            group.replace("_", " "),
            _shown(recipe[group]),
            _shown(one["rate"]),
            one["rule"],
            _shown(one["steepest"]),
            _shown(one["valley"]),
            _shown(one["divergence"]),
            f"{one['gain']:+.3f} +- {one['error']:.3f}",
        ]
        for group, one in suggestions.items()
    ]


HEADERS = ["group", "recipe's rate", "suggested", "by", "steepest", "valley", "diverges from", "lowest: loss fell by"]


def _shown(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.2g}"
