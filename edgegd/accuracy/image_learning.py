"""What a training did with each of its images, by the loss that the image had in every epoch.

A loss is high where it is above the upper fence of all images' losses in the same epoch, the third quartile and
FENCE times the distance of the quartiles (Tukey 1977): so it is high beside the other images, whatever the training's
own loss does. An image that was seen in FEWEST epochs at least is

    never learned    high in every epoch
    forgotten        high in the last fifth of its epochs, and not in all before (after Toneva et al. 2019, "An
                     Empirical Study of Example Forgetting": learned, then wrong again; here it must stay so)
    learned late     high in the first half of its epochs, and not at the end
    learned          all others

One with fewer epochs, or none, is "not judged": one draw of the augmentation decides a single loss.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NEVER, FORGOTTEN, LATE, LEARNED, NOT_JUDGED = LEARNING_KINDS = (
    "never learned",
    "forgotten",
    "learned late",
    "learned",
    "not judged",
)
FENCE = 1.5
FEWEST = 3
Losses = NDArray[np.float32]


def learning_kinds(losses: Losses) -> list[str]:
    """The kind of each image, from losses (epochs, images), NaN where an image was not seen."""
    is_high = losses > _fences(losses)[:, None]
    seen = ~np.isnan(losses)
    return [_kind(is_high[seen[:, image], image]) for image in range(losses.shape[1])]


def last_losses(losses: Losses, count: int = FEWEST) -> NDArray[np.float64]:
    """The mean of each image's last losses (images,), NaN for one that was never seen."""
    means = np.full(losses.shape[1], np.nan)
    for image, column in enumerate(losses.T):
        own = column[~np.isnan(column)][-count:]
        if len(own):
            means[image] = own.mean(dtype=np.float64)
    return means


def _fences(losses: Losses) -> NDArray[np.float64]:
    fences = np.full(len(losses), np.inf)
    for epoch, row in enumerate(losses):
        own = row[~np.isnan(row)]
        if len(own):
            low, high = np.percentile(own, [25, 75])
            fences[epoch] = high + FENCE * (high - low)
    return fences


def _kind(is_high: NDArray[np.bool_]) -> str:
    count = len(is_high)
    if count < FEWEST:
        return NOT_JUDGED
    if is_high.all():
        return NEVER
    if is_high[-max(1, count // 5) :].all():
        return FORGOTTEN
    if is_high[: -(-count // 2)].all() and not is_high[-1]:
        return LATE
    return LEARNED
