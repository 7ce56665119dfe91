"""The accuracy gate: is a candidate's mAP50-95 worse than a reference's by more than a margin?

Both were measured on the same images. Images are drawn with replacement, and the difference of every draw gives one-
sided bounds of the true difference, each wrong with probability alpha (edgegd.accuracy.small_samples). PASS needs the
lower bound to be above minus the margin, REGRESSED the upper bound to be below it: so either claim is wrong in at most
alpha of the gates, whatever the true difference is, and most often where it is the margin itself.

The draws know nothing of a loss that is sparse, such as a few boxes of one class, when few or none of these images have
it. So the lower bound is also at least `hidden_loss` below the difference (edgegd.accuracy.sparse_losses). Where no
image differs at all, a PASS needs so many images that damage to the `unseen_share` below would stay within the margin
even if it were total. Neither counts where both models are one file.

What no bound can know is damage to images like none of those measured. Of a kind that befalls one image in k, none is
among n images with probability (1 - 1 / k)^n; `unseen_share` is the largest 1 / k for which that is more than alpha.
benchmarks/accuracy_gate_error_rates.py counts both errors, on made-up and on real pairs of models.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegd.accuracy.bootstrap import SEED, draw_images, require_same_truth
from edgegd.accuracy.matches import Matches
from edgegd.accuracy.small_samples import one_sided_bounds, standard_error, student_quantile
from edgegd.accuracy.sparse_losses import LostBoxes, hidden_loss, lost_boxes
from edgegd.accuracy.weighted import mean_precisions
from edgegd.verdict import Verdict

ALPHA = 0.05
"""How often either claim is wrong, at most."""
BOUND_ALPHA = 0.025
"""At which bounds are taken so that ALPHA holds: at 0.04, 7 % of sets of real images had a wrong one (skewed draws)."""
FEWEST_IMAGES = 20
"""With a labelled box; from fewer nothing is claimed."""
RESAMPLES = 2000
_FOUND = 0.95  # the probability with which `detectable` is found, and an equal model passes on `images_needed`
_NORMAL = NormalDist()
_FOUND_ERRORS = _NORMAL.inv_cdf(_FOUND)


@dataclass(frozen=True)
class AccuracyGate:
    """A candidate against a reference on the same images; mAPs and their differences are of mAP50-95, in 0..1.

    `difference` is candidate minus reference, `low` and `high` its one-sided bounds at `alpha` each (None: too few
    images). `detectable` is the least loss that a gate on so many images calls REGRESSED with 95 % probability (None:
    too few images, or no draw differs), `pass_probability` that of a PASS for an equal model, and `images_needed` how
    many images would pass an equal model with 95 % probability (None where the margin is 0): all of pairs whose
    difference varies from image to image as much as this one's. A kind of damage that befalls less than `unseen_share`
    of all images may be on none of these.
    """

    verdict: Verdict
    reason: str
    model: str
    reference: str
    margin: float
    alpha: float
    model_map: float
    reference_map: float
    difference: float
    low: float | None
    high: float | None
    images: int
    labelled_images: int
    detectable: float | None
    pass_probability: float | None
    images_needed: int | None
    unseen_share: float

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict of every field."""
        return asdict(self) | {"verdict": self.verdict.value}


def accuracy_gate(
    candidate: Matches,
    reference: Matches,
    margin: float,
    *,
    names: tuple[str, str] = ("candidate", "reference"),
    notes: Sequence[str] = (),
    same_file: bool = False,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> AccuracyGate:
    """Judges a candidate; `margin` is in 0..1 (0.005: half a point), `names` are the models', `notes` end the reason.

    `same_file` says that both are one model. With a margin of 0 only a model that is shown to be better passes. Raises
    ValueError for a negative margin, and where both were not measured on the same labelled boxes.
    """
    if not margin >= 0:
        raise ValueError(f"a margin is 0 or more, not {margin}")
    require_same_truth({names[1]: reference, names[0]: candidate})
    (own, *_), (other, *_) = sampled = sampled_maps(candidate, reference, resamples, seed)
    differences, labelled = sampled[0] - sampled[1], candidate.labelled_images
    enough = labelled >= FEWEST_IMAGES
    error = standard_error(differences[1:], labelled) if labelled > 1 else 0.0
    unseen_share = _unseen_share(candidate.images)
    classes = () if same_file else lost_boxes(candidate, reference)
    low, high = bounds_of(differences, labelled, classes, unseen_share * float(other)) if enough else (None, None)
    if same_file and enough:
        low, high, verdict = 0.0, 0.0, Verdict.PASS
    else:
        verdict = verdict_of(low, high, margin)
    reason = _reason(verdict, differences[0], low, high, margin, labelled)
    quantile = student_quantile(1 - BOUND_ALPHA, max(labelled, FEWEST_IMAGES) - 1)
    needed = _images_needed(error, quantile, margin, labelled, float(other), classes)
    if verdict is Verdict.INCONCLUSIVE:
        reason += _more_images(needed, labelled)
    return AccuracyGate(
        verdict=verdict,
        reason=" ".join([reason, *notes]),
        model=names[0],
        reference=names[1],
        margin=margin,
        alpha=ALPHA,
        model_map=float(own),
        reference_map=float(other),
        difference=float(differences[0]),
        low=low,
        high=high,
        images=candidate.images,
        labelled_images=labelled,
        detectable=margin + (quantile + _FOUND_ERRORS) * error if enough and error else None,
        pass_probability=None if low is None else _pass_probability(error, differences[0] - low, margin, verdict),
        images_needed=needed,
        unseen_share=unseen_share,
    )


def sampled_maps(
    candidate: Matches, reference: Matches, resamples: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """mAP50-95 of both (1 + resamples,) on the same draws of images; the first is that of the images themselves."""
    own = np.ones((1, candidate.images), np.int64)
    weights = np.concatenate([own, draw_images(candidate.images, resamples, seed)])
    return mean_precisions(candidate, weights).map50_95, mean_precisions(reference, weights).map50_95


def bounds_of(
    differences: NDArray[np.float64], labelled: int, classes: Sequence[LostBoxes], unseen: float
) -> tuple[float, float]:
    """(low, high) of the difference whose draws follow its own value in `differences` (1 + R,), on `labelled` images.

    `unseen` is the mAP that could be lost on images like none measured, which counts where no draw differs.
    """
    low, high = one_sided_bounds(differences[1:], BOUND_ALPHA, labelled)
    sparse = hidden_loss(classes, BOUND_ALPHA)
    return min(low, float(differences[0]) - max(sparse, unseen if low == high else 0.0)), high


def verdict_of(low: float | None, high: float | None, margin: float) -> Verdict:
    """What the bounds of a difference bear out; None stands for too few images."""
    if low is None or high is None:
        return Verdict.INCONCLUSIVE
    if low > -margin:
        return Verdict.PASS
    return Verdict.REGRESSED if high < -margin else Verdict.INCONCLUSIVE


def _reason(
    verdict: Verdict,
    difference: float,
    low: float | None,
    high: float | None,
    margin: float,
    labelled: int,
) -> str:
    if low is None or high is None:
        are = "1 image has" if labelled == 1 else f"{labelled} images have"
        return f"Only {are} labelled boxes, and from fewer than {FEWEST_IMAGES} nothing is claimed."
    allowed = f"the margin of {100 * margin:g} points"
    claim = {
        Verdict.PASS: f"Not worse than {allowed}",
        Verdict.REGRESSED: f"Worse than {allowed}",
        Verdict.INCONCLUSIVE: f"Neither a loss within {allowed} nor one beyond it is shown",
    }[verdict]
    return (
        f"{claim}: {100 * difference:+.2f} points of mAP50-95 ({100 * low:+.2f} to {100 * high:+.2f}, each bound at "
        f"{100 * (1 - ALPHA):g} %)."
    )


def _pass_probability(error: float, gap: float, margin: float, verdict: Verdict) -> float:
    """That the lower bound of an equal model, `gap` below its difference, is above minus the margin."""
    return float(verdict is Verdict.PASS) if error == 0 else _NORMAL.cdf((margin - gap) / error)


def _images_needed(
    error: float, quantile: float, margin: float, labelled: int, reference_map: float, classes: Sequence[LostBoxes]
) -> int | None:
    """The least number on which an equal model passes: its variance and what may be hidden fall with more images."""
    if margin == 0:
        return None

    def passes(images: int) -> bool:
        spread = error * sqrt(labelled / images) if error else 0.0
        hidden = hidden_loss(classes, BOUND_ALPHA, images / max(labelled, 1))
        unseen = 0.0 if error else _unseen_share(images) * reference_map
        return max(quantile * spread, hidden, unseen) + _FOUND_ERRORS * spread <= margin

    most = FEWEST_IMAGES
    while not passes(most):
        most *= 2
    return bisect_left(range(most), True, key=passes, lo=FEWEST_IMAGES)


def _unseen_share(images: int) -> float:
    """The largest share of all images of which none is among so many with a probability above ALPHA."""
    return 1 - ALPHA ** (1 / images)


def _more_images(needed: int | None, labelled: int) -> str:
    if needed is None:
        return f" At least {FEWEST_IMAGES} are needed." if labelled < FEWEST_IMAGES else ""
    return f" An equal model would pass on about {needed} such images with {100 * _FOUND:g} % probability."
