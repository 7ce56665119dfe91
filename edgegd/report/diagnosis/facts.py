"""What is known of one descent, running or ended, as the rules of the diagnosis read it (docs/telemetry.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean, median, stdev
from typing import Any

ADAPTED = ("epochs", "lr0", "warmup_epochs")
"""Keys that an adaptation has of its own, in `train.adapt`."""

MOST_ERRORS = 1e6
"""Standard errors between two means, at the most: JSON has no word for infinity."""


@dataclass(frozen=True)
class Facts:
    """The lines of one descent and what else decides how to read them.

    `rows` are lines of descent.jsonl or adaptation.jsonl, the first ones whole. `epochs` and `start_map50_95` are those
    of descent.json, as far as they are known; mAPs are in 0..1. `settings` is the recipe's section `train`, with the
    values of `train.adapt` where `adaptation`; `images` the number of training images. `ended`: there is no step more.
    """

    rows: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any]
    images: int
    epochs: Sequence[Mapping[str, Any]] = ()
    start_map50_95: float | None = None
    ended: bool = False
    adaptation: bool = False
    unrecorded: str = field(default="")

    def key(self, name: str) -> str:
        """The recipe key of a setting."""
        return f"train.adapt.{name}" if self.adaptation and name in ADAPTED else f"train.{name}"

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch."""
        return max(-(-self.images // min(self.settings["batch"], max(self.images, 1))), 1)

    @property
    def planned(self) -> int:
        """Steps of the whole descent."""
        return int(self.settings["epochs"] * self.per_epoch)

    @cached_property
    def steps(self) -> list[Mapping[str, Any]]:
        """The lines of steps that were taken."""
        return [row for row in self.rows if row.get("loss") is not None]

    @property
    def broken(self) -> Mapping[str, Any] | None:
        """The line of the step that was not taken, because its loss or gradient was not finite."""
        return next((row for row in self.rows if row.get("loss") is None), None)

    @property
    def whole(self) -> bool:
        """Whether every step was taken and has its line."""
        return self.ended and not self.unrecorded and self.broken is None

    @cached_property
    def losses(self) -> list[float]:
        """The loss of every step, per image."""
        return [float(row["loss"]) for row in self.steps]

    @cached_property
    def rates(self) -> list[float]:
        """The learning rate of the weights at every step; 0 where the lines are older than the rate of each group."""
        return [float(row["lr"]["weights"]) if isinstance(row.get("lr"), dict) else 0.0 for row in self.steps]

    @cached_property
    def full_rate(self) -> list[Mapping[str, Any]]:
        """The steps after the warm-up."""
        warmup = round(self.settings["warmup_epochs"] * self.per_epoch)
        return [row for row in self.steps if row["step"] > warmup]

    @cached_property
    def details(self) -> list[tuple[int, Mapping[str, Any]]]:
        """The step and the detail of each step that was looked at closely."""
        return [(row["step"], row["detail"]) for row in self.steps if "detail" in row]

    @property
    def maps(self) -> list[float]:
        """mAP50-95 before the first step and after each epoch; empty where it is not known."""
        if self.start_map50_95 is None:
            return []
        return [self.start_map50_95, *(float(epoch["map50_95"]) for epoch in self.epochs)]

    def alphas(self) -> list[float]:
        """The lengths of the steps of weights and biases that were looked at; those that led uphill have none."""
        lengths = (detail["step_length"]["all"]["alpha"] for _, detail in self.details)
        return [alpha for alpha in lengths if alpha is not None]

    def codes_changed(self) -> list[float]:
        """For each step that was looked at, the share of the weights' codes that it changed: the median of layers."""
        return [median(detail["codes_changed"].values()) for _, detail in self.details if detail["codes_changed"]]

    def ranges(self) -> dict[str, list[tuple[int, Mapping[str, float]]]]:
        """By scale group, the steps at which it was looked at, and what was seen."""
        groups: dict[str, list[tuple[int, Mapping[str, float]]]] = {}
        for step, detail in self.details:
            for group, seen in detail["ranges"].items():
                groups.setdefault(group, []).append((step, seen))
        return groups


@dataclass(frozen=True)
class Difference:
    """The means of two samples of losses, and how many standard errors lie between them."""

    before: float
    after: float
    errors: float

    @property
    def share(self) -> float:
        """What the mean has risen by, as a share of what it was."""
        return self.after / self.before - 1 if self.before else 0.0


def difference(before: Sequence[float], after: Sequence[float]) -> Difference:
    """Welch's t of two samples of at least two values each, within +-MOST_ERRORS: samples may not vary at all."""
    low, high = fmean(before), fmean(after)
    error = (stdev(before) ** 2 / len(before) + stdev(after) ** 2 / len(after)) ** 0.5
    least = abs(high - low) / MOST_ERRORS
    return Difference(low, high, (high - low) / max(error, least) if high != low else 0.0)


def layer_shares(detail: Mapping[str, Any]) -> Iterator[tuple[float, str]]:
    """Each layer's share of the squared norm of the gradient of weights and biases."""
    squares = {name: row["gradient"] ** 2 for name, row in detail["layers"].items() if row["gradient"] is not None}
    whole = sum(squares.values())
    for name, square in squares.items():
        yield square / whole if whole else 0.0, name
