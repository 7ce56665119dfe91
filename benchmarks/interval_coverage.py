"""How often the intervals of mAP hold what they say: two made-up models on many sets of images of one population.

    python benchmarks/interval_coverage.py

A set's images, boxes and both models' detections are drawn by lot; an image is easy or hard for both models. Of every
set edgegd.accuracy.bootstrap gives the interval of the first model's mAP50-95 and that of the difference. Counted is
how often they hold the mean of all sets of that size, and the population's own value (20,000 images); and how often the
interval of the difference lies above 0 or below it, which for equally good models (`gain` 0) should be 2.5 % each.
Writes benchmarks/results/interval_coverage.json; what is there is not counted again.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from result_file import ResultFile
from tabulate import tabulate

from edgegd.accuracy.bootstrap import Estimate, compare
from edgegd.accuracy.matches import ClassMatches, Matches
from edgegd.accuracy.weighted import mean_precisions

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
POPULATION = 20_000
SETS = 400
DRAWS = 400


@dataclass(frozen=True)
class Setting:
    """Sets of `images` images, `boxes` labelled boxes each in the mean; class k is 1 / k as frequent as the first.

    `gain` is how much better the second model is: what is added to the logits of its scores and overlaps.
    """

    images: int
    classes: int
    boxes: float
    gain: float


SETTINGS = (
    Setting(87, 3, 13, 0.05),
    Setting(128, 80, 7, 0.05),
    *(Setting(images, 3, 10, 0) for images in (4, 8, 12, 20, 30)),
)


def models(setting: Setting, images: int, random: np.random.Generator) -> tuple[Matches, Matches]:
    """Both models' matches on `images` images drawn by lot; 30 false detections an image."""
    frequency = 1 / np.arange(1, setting.classes + 1)
    ease = random.normal(0, 0.5, images)
    box_image = np.repeat(np.arange(images), random.poisson(setting.boxes, images))
    false_image = np.repeat(np.arange(images), 30)
    classes = random.choice(setting.classes, len(box_image) + len(false_image), p=frequency / frequency.sum())
    box_logit = random.normal(0, 1, len(box_image)) + ease[box_image]
    false_logit = random.normal(-1.5, 1, len(false_image)) - 0.3 * ease[false_image]
    image = np.concatenate([box_image, false_image])
    is_box = np.arange(len(image)) < len(box_image)
    found = []
    for gain in (0.0, setting.gain):
        logit = np.concatenate([box_logit + gain, false_logit]) + random.normal(0, 0.25, len(image))
        overlap = 1 / (1 + np.exp(-1.2 - 0.8 * box_logit - gain - random.normal(0, 0.3, len(box_image))))
        overlaps = np.concatenate([overlap, np.zeros(len(false_image))])
        order = np.argsort(-logit, kind="stable")
        of_classes = []
        for index in range(setting.classes):
            own = order[classes[order] == index]
            true = overlaps[own] > THRESHOLDS[:, None]
            truth = np.bincount(image[is_box & (classes == index)], minlength=images)
            of_classes.append(ClassMatches(image[own], true, np.zeros_like(true), truth))
        found.append(Matches(images, RECALLS, tuple(of for of in of_classes if of.truth.any())))
    return found[0], found[1]


def population(setting: Setting, random: np.random.Generator) -> dict[str, float]:
    """mAP50-95 of the first model, and the difference, on very many images."""
    once = np.ones((1, POPULATION), np.int64)
    first, second = (mean_precisions(one, once).map50_95[0] for one in models(setting, POPULATION, random))
    return {"model": float(first), "difference": float(second - first) if setting.gain else 0.0}


def coverage(setting: Setting) -> dict[str, Any]:
    """The shares of SETS sets."""
    random = np.random.default_rng(0)
    exact = population(setting, random)
    found: dict[str, list[Estimate]] = {"model": [], "difference": []}
    for number in range(SETS):
        print(f"\r{setting}: {number}/{SETS}", end="", file=sys.stderr, flush=True)
        first, second = models(setting, setting.images, random)
        compared = compare({"first": first, "second": second}, [("second", "first")], resamples=DRAWS, seed=number)
        found["model"].append(compared.models["first"]["map50_95"])
        found["difference"].append(compared.differences["second", "first"]["map50_95"])
    entry: dict[str, Any] = {**asdict(setting), "sets": SETS, "draws": DRAWS}
    for name, estimates in found.items():
        low, value, high = (np.array([getattr(one, key) for one in estimates]) for key in ("low", "value", "high"))
        entry[name] = {
            "population": exact[name],
            "mean_of_sets": float(value.mean()),
            "width": float((high - low).mean()),
            "holds_population": share((low <= exact[name]) & (exact[name] <= high)),
            "holds_mean_of_sets": share((low <= value.mean()) & (value.mean() <= high)),
            "above_0": share(low > 0),
            "below_0": share(high < 0),
        }
    return entry


def share(of: NDArray[np.bool_]) -> float:
    """The share of true values."""
    return float(np.mean(of))


def table(entries: list[dict[str, Any]]) -> str:
    """A line a setting; shares in percent, mAP in points."""
    lines = []
    for entry in entries:
        model, difference = entry["model"], entry["difference"]
        lines.append(
            [
                entry["images"],
                entry["classes"],
                entry["gain"],
                *(
                    f"{100 * model[key]:.1f}"
                    for key in ("population", "mean_of_sets", "holds_population", "holds_mean_of_sets")
                ),
                f"{100 * difference['mean_of_sets']:.2f}",
                *(
                    f"{100 * difference[key]:.1f}"
                    for key in ("holds_population", "holds_mean_of_sets", "above_0", "below_0")
                ),
            ]
        )
    headers = [
        "images",
        "classes",
        "gain",
        "mAP",
        "of sets",
        "held %",
        "of sets held %",
        "difference",
        "held %",
        "of sets held %",
        "above 0 %",
        "below 0 %",
    ]
    return tabulate(lines, headers, disable_numparse=True)


def main() -> None:
    """Counts what is missing, and prints the table of all."""
    results = ResultFile("interval_coverage")
    for setting in SETTINGS:
        if not results.find(**asdict(setting)):
            results.add(coverage(setting))
    print(f"\n{table(results.entries)}")


if __name__ == "__main__":
    main()
