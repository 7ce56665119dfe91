"""The accuracy gate. Oracle: made-up models that find known shares of the boxes, one box an image."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgegd.accuracy.gate import FEWEST_IMAGES, accuracy_gate
from edgegd.accuracy.matches import ClassMatches, Matches
from edgegd.verdict import Verdict

RECALLS = np.linspace(0, 1, 101)


def of_hits(hits: np.ndarray) -> Matches:
    """One box an image, detected without a false detection where `hits` says so: mAP is the share of hits."""
    images = np.flatnonzero(hits)
    true = np.ones((10, len(images)), bool)
    return Matches(len(hits), RECALLS, (ClassMatches(images, true, ~true, np.ones(len(hits), np.int64)),))


def pair(images: int, lost: int, won: int = 0) -> tuple[Matches, Matches]:
    """(candidate, reference): the reference finds the box on all images but `won`, the candidate on all but `lost`."""
    own, other = np.ones(images, bool), np.ones(images, bool)
    own[:lost], other[images - won :] = False, False
    return of_hits(own), of_hits(other)


@pytest.mark.parametrize(
    ("images", "lost", "won", "margin", "verdict"),
    [
        (100, 0, 0, 0.005, Verdict.INCONCLUSIVE),  # the box of 4 % of all images could be lost
        (700, 0, 0, 0.005, Verdict.INCONCLUSIVE),
        (800, 0, 0, 0.005, Verdict.PASS),
        (100, 0, 0, 0.04, Verdict.PASS),
        (100, 30, 0, 0.005, Verdict.REGRESSED),
        (100, 30, 0, 0.45, Verdict.PASS),
        (100, 5, 5, 0.005, Verdict.INCONCLUSIVE),
        (100, 5, 5, 0.2, Verdict.PASS),
        (100, 0, 30, 0.0, Verdict.PASS),
        (100, 5, 5, 0.0, Verdict.INCONCLUSIVE),
        (100, 0, 0, 0.0, Verdict.INCONCLUSIVE),
        (FEWEST_IMAGES, 10, 0, 0.005, Verdict.REGRESSED),
        (FEWEST_IMAGES - 1, 10, 0, 0.005, Verdict.INCONCLUSIVE),
        (FEWEST_IMAGES - 1, 0, 0, 0.005, Verdict.INCONCLUSIVE),
        (2, 1, 0, 0.005, Verdict.INCONCLUSIVE),
        (1, 1, 0, 0.005, Verdict.INCONCLUSIVE),
        (1, 0, 0, 0.005, Verdict.INCONCLUSIVE),
    ],
)
def test_verdicts(images: int, lost: int, won: int, margin: float, verdict: Verdict) -> None:
    gate = accuracy_gate(*pair(images, lost, won), margin)
    assert gate.verdict is verdict, gate.reason
    assert gate.difference == pytest.approx((won - lost) / images, abs=0.011)
    assert (gate.low is None) == (images < FEWEST_IMAGES)
    assert json.loads(json.dumps(gate.to_json()))["verdict"] == verdict.value


def test_one_file_passes_whatever_the_margin_and_others_say_what_they_need() -> None:
    assert accuracy_gate(*pair(30, 0), 0.0, same_file=True).verdict is Verdict.PASS
    gate = accuracy_gate(*pair(30, 0), 0.005)
    assert gate.detectable is None and gate.pass_probability == 0.0  # no draw says what is seen
    assert gate.images_needed == 736 and "about 736 such images" in gate.reason  # 0.995 ** 736 = 0.025
    assert accuracy_gate(*pair(736, 0), 0.005).verdict is Verdict.PASS
    assert accuracy_gate(*pair(735, 0), 0.005).verdict is Verdict.INCONCLUSIVE


def test_few_images_say_how_many_are_needed() -> None:
    gate = accuracy_gate(*pair(12, 2, 2), 0.05)
    assert f"Only 12 images have labelled boxes, and from fewer than {FEWEST_IMAGES} nothing is claimed." in gate.reason
    assert gate.images_needed and f"about {gate.images_needed} such images" in gate.reason
    # Of n images, 4 in 12 differ by one box: sd 0.60 an image, and 2.06 + 1.64 such errors must fit into the margin.
    assert gate.images_needed == pytest.approx((0.60 * (2.06 + 1.64) / 0.05) ** 2, rel=0.15)
    assert gate.detectable is None and gate.pass_probability is None
    alone = accuracy_gate(*pair(1, 0), 0.005)
    assert "Only 1 image has labelled boxes" in alone.reason and alone.images_needed == 736
    assert f"At least {FEWEST_IMAGES} are needed" in accuracy_gate(*pair(1, 0), 0.0).reason


def test_notes_end_the_reason_and_names_are_those_given() -> None:
    gate = accuracy_gate(*pair(30, 0), 0.005, names=("mine", "theirs"), notes=["One.", "Two."])
    assert gate.reason.endswith("One. Two.") and (gate.model, gate.reference) == ("mine", "theirs")


def test_the_unseen_share_is_that_of_images_of_which_none_need_be_there() -> None:
    gate = accuracy_gate(*pair(150, 0), 0.005)
    assert (1 - gate.unseen_share) ** 150 == pytest.approx(0.05)


@pytest.mark.parametrize("margin", [-0.001, float("nan")])
def test_a_negative_margin_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match="a margin is 0 or more"):
        accuracy_gate(*pair(30, 0), margin)


def test_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="mine was measured on other images than theirs"):
        accuracy_gate(of_hits(np.ones(30)), of_hits(np.ones(31)), 0.005, names=("mine", "theirs"))


def shares(loss: float, margin: float, gates: int = 120) -> dict[Verdict, float]:
    """Verdicts on sets of 100 images of which the reference finds half, and the candidate `loss` fewer, each by lot."""
    random = np.random.default_rng(5)
    found = []
    for number in range(gates):
        candidate, reference = (of_hits(random.random(100) >= miss) for miss in (0.5 + loss, 0.5))
        found.append(accuracy_gate(candidate, reference, margin, resamples=200, seed=number).verdict)
    return {verdict: found.count(verdict) / gates for verdict in Verdict}


def test_neither_claim_is_wrong_more_often_than_it_says() -> None:
    at_the_margin = shares(0.1, 0.1)  # 5 % are right; of 120 gates up to 10 % is chance
    assert 0 < at_the_margin[Verdict.PASS] <= 0.1 and 0 < at_the_margin[Verdict.REGRESSED] <= 0.1


def test_what_it_says_of_itself_is_what_happens() -> None:
    gate = accuracy_gate(*pair(100, 25, 25), 0.2)  # half of the images differ, as in `shares`
    assert gate.pass_probability and gate.detectable
    assert shares(0.0, 0.2)[Verdict.PASS] == pytest.approx(gate.pass_probability, abs=0.1)
    assert shares(gate.detectable, 0.2)[Verdict.REGRESSED] == pytest.approx(0.95, abs=0.06)


def test_a_loss_that_few_images_can_hide_keeps_the_gate_from_passing() -> None:
    """Forty images differ in nothing but one box each way: the draws' bound alone is within 5 points."""
    candidate, reference = pair(40, 1, 1)
    gate = accuracy_gate(candidate, reference, 0.08)
    assert gate.verdict is Verdict.INCONCLUSIVE and gate.low is not None and gate.high is not None
    # Where 13.2 % of all images lose their box, 1 of 40 or none does with 2.5 % probability (Clopper and Pearson).
    assert gate.low == pytest.approx(-(0.1316 - 1 / 40) * gate.reference_map, abs=0.001) and gate.high < 0.08
    assert gate.images_needed and accuracy_gate(*pair(200, 5, 5), 0.08).verdict is Verdict.PASS
