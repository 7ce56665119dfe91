"""Whether the splits are alike: mixture of classes, numbers and sizes of boxes, brightness, size of the effect first.

Images are what was drawn into splits, and the boxes of one image are not independent of each other: a chi-squared test
over boxes would call every set skewed. So

- the mixture of classes is judged by Cramér's V of the table (split x class) of boxes, and its significance by dealing
  the images, with all their boxes, into splits of the same sizes again (a permutation test);
- everything else has one number per image, and the Kolmogorov-Smirnov distance D of two splits with its exact test.

A large set makes every difference significant and a small one none, so a finding needs both: an effect that matters,
and that chance seldom makes. What chance makes is in the JSON; where that is large, the set is too small to tell.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from edgegd.data.doctor.finding import Finding, shown
from edgegd.data.doctor.survey import ImageRecord, Survey
from edgegd.foreign_text import one_line

EFFECT_V = 0.1
"""Cramér's V of a table with two rows: Cohen's w, whose `small` this is (Statistical Power Analysis, 2nd ed., 7.2)."""
EFFECT_D = 0.2
"""Largest difference of the two cumulative shares: a fifth of the images would have to change."""
CHANCE = 0.01
"""Probability of a finding in a set that was split by chance, shared among the comparisons of two splits."""
DEALS = 999
MOST_IMAGES = 200_000
"""Beyond these, a random choice of images is compared."""
_AT_ONCE = 32
_SMALLEST_SPLIT = 5
SMALL = 1e-12


@dataclass(frozen=True)
class Difference:
    """One comparison of a split with train: `effect` (V or D), how rarely chance makes it, and what chance makes.

    `by_chance` is the effect that chance reaches in one of a hundred sets (None: not computed for D).
    """

    split: str
    quantity: str
    effect: float
    threshold: float
    probability: float
    by_chance: float | None
    values: str

    @property
    def is_found(self) -> bool:
        """Whether the effect matters and is seldom made by chance."""
        return self.effect >= self.threshold and self.probability <= CHANCE / _COMPARISONS


def skewed_splits(survey: Survey) -> Finding | None:
    """Measured splits that are unlike the training images."""
    found = [one for one in differences(survey) if one.is_found]
    if not found:
        return None
    return Finding(
        "warning",
        f"{'; '.join(dict.fromkeys(f'{one.split} differs from train in {one.quantity}' for one in found))}.",
        len(found),
        shown(
            f"{one.split}, {one.quantity}: {one.values}; effect {one.effect:.2f} (from {one.threshold:g}), "
            f"by chance in {one.probability:.2%} of splits"
            for one in found
        ),
        "deal images into splits by chance, whole scenes at a time; where the difference is wanted, mAP is that of "
        "other conditions than the trained ones",
        {"comparisons": [asdict(one) for one in found]},
    )


def differences(survey: Survey) -> list[Difference]:
    """Every comparison of val and test with train; none with a split of fewer than five images."""
    rng = np.random.default_rng(0)
    usable = {split: _sample(_readable(images), rng) for split, images in survey.splits.items()}
    train = usable.get("train", ())
    found = []
    for split, images in usable.items():
        if split == "train" or min(len(train), len(images)) < _SMALLEST_SPLIT:
            continue
        if mixture := _classes(split, train, images, survey, rng):
            found.append(mixture)
        for quantity, values in _NUMBERS.items():
            first, second = values(train, survey), values(images, survey)
            if len(first) and len(second):
                found.append(_distance(split, quantity, first, second))
    return found


def _readable(images: tuple[ImageRecord, ...]) -> tuple[ImageRecord, ...]:
    return tuple(image for image in images if not image.problem)


def _sample(images: tuple[ImageRecord, ...], rng: np.random.Generator) -> tuple[ImageRecord, ...]:
    if len(images) <= MOST_IMAGES:
        return images
    return tuple(images[place] for place in np.sort(rng.choice(len(images), MOST_IMAGES, replace=False)))


def cramers_v(first: NDArray[np.float64], total: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cramér's V of tables of two rows: their first rows (classes, tables), the sums of both (classes,) -> (tables,).

    V is the root of chi-squared over the number of boxes; 0 where a row is empty (Cramér 1946, 21.9, for two rows).
    """
    shares = first.sum(axis=0) / total.sum()  # of all boxes that are in the first row
    expected = total[:, None] * shares
    variance = np.maximum(expected * (1 - shares), SMALL)  # both cells of a class: d^2 / e + d^2 / (t - e)
    chi_squared = ((first - expected) ** 2 / variance).sum(axis=0)
    return np.asarray(np.sqrt(chi_squared / total.sum()))


def _classes(
    split: str,
    train: tuple[ImageRecord, ...],
    images: tuple[ImageRecord, ...],
    survey: Survey,
    rng: np.random.Generator,
) -> Difference | None:
    """The mixture of classes, against what dealing the images again makes."""
    from scipy.sparse import csc_array

    every = (*train, *images)
    kinds = np.concatenate([image.boxes[:, 0].astype(np.int64) for image in every])
    owner = np.repeat(np.arange(len(every)), [len(image.boxes) for image in every])
    present, kinds = np.unique(kinds, return_inverse=True)
    if len(present) < 2:
        return None
    table = csc_array((np.ones(len(kinds)), (kinds, owner)), shape=(len(present), len(every)))  # summed where equal
    total = np.asarray(table.sum(axis=1), np.float64).ravel()
    is_other = (np.arange(len(every)) >= len(train)).astype(np.float64)
    row = np.asarray(table @ is_other)
    effect = float(cramers_v(row[:, None], total)[0])
    dealt: list[float] = []
    while len(dealt) < DEALS:
        count = min(_AT_ONCE, DEALS - len(dealt))
        deals = rng.permuted(np.repeat(is_other[:, None], count, axis=1), axis=0)  # (images, deals)
        dealt += cramers_v(np.asarray(table @ deals), total).tolist()
    shares = row / max(row.sum(), 1), (total - row) / max((total - row).sum(), 1)
    most = int(np.abs(shares[0] - shares[1]).argmax())
    name = survey.described.names[int(present[most])]
    return Difference(
        split,
        "the mixture of classes",
        effect,
        EFFECT_V,
        (1 + sum(value >= effect - SMALL for value in dealt)) / (1 + DEALS),
        float(np.quantile(dealt, 1 - CHANCE)),
        f"{one_line(name, 40)} is {shares[0][most]:.1%} of the boxes, {shares[1][most]:.1%} in train",
    )


def _distance(split: str, quantity: str, train: NDArray[np.float64], other: NDArray[np.float64]) -> Difference:
    from scipy.stats import ks_2samp

    result = ks_2samp(train, other)
    medians = f"median {np.median(other):.3g}, {np.median(train):.3g} in train"
    return Difference(split, quantity, float(result.statistic), EFFECT_D, float(result.pvalue), None, medians)


def _boxes_per_image(images: tuple[ImageRecord, ...], survey: Survey) -> NDArray[np.float64]:
    return np.array([len(image.boxes) for image in images], np.float64)


def _box_sizes(images: tuple[ImageRecord, ...], survey: Survey) -> NDArray[np.float64]:
    """The median of the roots of the boxes' areas, in the network's pixels, of each image that has boxes."""
    return np.array(
        [
            survey.scale(image) * np.median(np.sqrt(image.boxes[:, 3:5].prod(axis=1) * image.height * image.width))
            for image in images
            if len(image.boxes)
        ]
    )


def _brightness(images: tuple[ImageRecord, ...], survey: Survey) -> NDArray[np.float64]:
    places = survey.places
    return np.array([survey.pictures[places[image.path, image.split]].mean() for image in images])


_NUMBERS = {
    "the number of boxes per image": _boxes_per_image,
    "the size of boxes (px of the network's input)": _box_sizes,
    "brightness (mean gray value)": _brightness,
}
_COMPARISONS = 1 + len(_NUMBERS)
