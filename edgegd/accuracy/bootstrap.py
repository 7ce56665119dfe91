"""How sure a mAP and a difference of two mAPs are: the percentile bootstrap over images.

Images are drawn with replacement, as many as there are, and mAP is taken of what was drawn; the interval lies between
the 2.5th and the 97.5th percentile of many such mAPs (Efron (1979), Annals of Statistics 7(1), 1-26; Efron and
Tibshirani (1993), An Introduction to the Bootstrap, chapter 13). Images are the unit because the boxes of one image are
not independent. All models of a comparison see the same draws, so what makes an image hard for all of them cancels in
their difference.

A draw is a vector of integer weights, one for each image (edgegd.accuracy.weighted).

mAP of few boxes is higher than that of many, and a draw has fewer different boxes than the set: with COCO's 80 classes
on 128 images the draws of a YOLO11n lie 2.6 points above its own mAP. In a difference of two models this cancels. The
interval of a single model is moved back by it, so that the draws' mean lies at the measured mAP: it tells how mAP
varies from one set of as many images to another. benchmarks/interval_coverage.py counts how often both intervals hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegd.accuracy.matches import Matches
from edgegd.accuracy.weighted import MeanPrecisions, mean_precisions

RESAMPLES = 1000  # as many as Efron and Tibshirani advise for intervals
SEED = 0
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mAP of the images themselves, or a difference of two, in 0..1, and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Models measured on the same images, and differences of pairs of them under the same draws.

    `models` holds for each name, `differences` for each pair (A, B), A minus B, an Estimate of `map50_95` and one of
    `map50`. `draws` are those that have a labelled box: without one no mAP is defined.
    """

    models: dict[str, dict[str, Estimate]]
    differences: dict[tuple[str, str], dict[str, Estimate]]
    images: int
    labelled_images: int
    draws: int
    seed: int
    level: float

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and numbers, as accuracy.json and report.json hold them.

        `intervals[NAME][MAP]` is [low, high], moved as this module says; `differences["A_vs_B"][MAP]` has the
        `difference` A - B and its `interval`; `bootstrap` says how they were made.
        """
        return {
            "intervals": {
                name: {key: [estimate.low, estimate.high] for key, estimate in maps.items()}
                for name, maps in self.models.items()
            },
            "differences": {
                f"{a}_vs_{b}": {
                    key: {"difference": estimate.value, "interval": [estimate.low, estimate.high]}
                    for key, estimate in maps.items()
                }
                for (a, b), maps in self.differences.items()
            },
            "bootstrap": {
                "method": "percentile",
                "level": self.level,
                "draws": self.draws,
                "seed": self.seed,
                "images": self.images,
                "labelled_images": self.labelled_images,
            },
        }


def compare(
    models: Mapping[str, Matches],
    pairs: Iterable[tuple[str, str]] = (),
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    level: float = LEVEL,
) -> Comparison:
    """mAP of every model with its interval, and the difference A - B for every pair (A, B), all from the same draws.

    Raises ValueError where the models were not measured on the same labelled boxes.
    """
    require_same_truth(models)
    first = next(iter(models.values()))
    weights = draw_images(first.images, resamples, seed)
    own = np.ones((1, first.images), np.int64)
    sampled = {name: mean_precisions(matches, np.concatenate([own, weights])) for name, matches in models.items()}
    differences = {(a, b): sampled[a].minus(sampled[b]) for a, b in pairs}
    return Comparison(
        models={name: _estimates(values, level, move=True) for name, values in sampled.items()},
        differences={pair: _estimates(values, level) for pair, values in differences.items()},
        images=first.images,
        labelled_images=first.labelled_images,
        draws=int(np.count_nonzero(_has_box(first, weights))),
        seed=seed,
        level=level,
    )


def require_same_truth(models: Mapping[str, Matches]) -> None:
    """ValueError where the models were not measured on the same labelled boxes."""
    first = next(iter(models.values()))
    for name, matches in models.items():
        if not _same_truth(first, matches):
            raise ValueError(f"{name} was measured on other images than {next(iter(models))}")


def draw_images(images: int, resamples: int = RESAMPLES, seed: int = SEED) -> NDArray[np.int64]:
    """(resamples, images) int64: how often each image was drawn; every row adds up to `images`."""
    drawn = np.random.default_rng(seed).integers(images, size=(resamples, images))
    rows = images * np.arange(resamples)[:, None]
    return np.bincount((drawn + rows).ravel(), minlength=resamples * images).reshape(resamples, images)


def percentile_interval(values: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    """(low, high) of bootstrapped `values` (R,); NaNs, which are draws without a labelled box, are left out."""
    tail = 50 * (1 - level)
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return float(low), float(high)


def moved_interval(own: float, values: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    """(low, high) of a single model: the percentile interval of `values` (R,), moved from their mean to `own` mAP."""
    low, high = np.clip(np.array(percentile_interval(values, level)) + own - np.nanmean(values), 0, 1)
    return float(low), float(high)


def _estimates(sampled: MeanPrecisions, level: float, *, move: bool = False) -> dict[str, Estimate]:
    """Of values whose first is that of the images themselves."""
    estimates = {}
    for name, values in (("map50_95", sampled.map50_95), ("map50", sampled.map50)):
        own = float(values[0])
        interval = moved_interval(own, values[1:], level) if move else percentile_interval(values[1:], level)
        estimates[name] = Estimate(own, *interval)
    return estimates


def _has_box(matches: Matches, weights: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(R,) whether a draw holds a labelled box."""
    return np.any([weights @ of_class.truth > 0 for of_class in matches.classes], axis=0)


def _same_truth(a: Matches, b: Matches) -> bool:
    return (
        a.images == b.images
        and len(a.classes) == len(b.classes)
        and all(np.array_equal(one.truth, other.truth) for one, other in zip(a.classes, b.classes, strict=True))
    )
