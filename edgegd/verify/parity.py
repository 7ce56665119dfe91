"""Parity: what torch computes under fake quantization against what onnxruntime computes, box by box, on real images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from edgegd.errors import ParityError, SilentModelError
from edgegd.runtime.contract import INPUT_NAME, OUTPUT_NAME
from edgegd.runtime.detector import Detections, detections_from_output
from edgegd.verify.opened import OnnxFile, Pictures

COMPARED_SCORE = 0.05  # detections below this score are noise of both sides
# A detector whose best score is below the compared ones detects nothing; above, at least one detection is compared.
SILENT_SCORE = COMPARED_SCORE


@dataclass(frozen=True)
class Tolerance:
    """When torch and onnxruntime agree.

    Both compute with the same codes, most images to the last code. Where a float32 value of a float part (RT-DETR's
    transformer) lies next to a half-way value, one code can differ by one and disturb that image's weak boxes. So a
    detection agrees within `shift_px` and `score_change`, and `agreeing_share` of all detections must.
    """

    shift_px: float = 1.0
    score_change: float = 0.02
    agreeing_share: float = 0.95


@dataclass(frozen=True)
class Parity:
    """The comparison over all images: detections of both sides, the share that agrees, the largest differences."""

    images: int
    detections: int
    agreeing_share: float
    largest_shift_px: float
    largest_score_change: float
    best_score: float
    best_score_reference: float


@torch.no_grad()
def measure_parity(
    model: torch.nn.Module, file: OnnxFile, pictures: Pictures, tolerance: Tolerance | None = None
) -> Parity:
    """Runs `model` (torch, evaluation mode) and the exported file, in an exact session, on the same images and matches
    their detections."""
    contract, session = file.portable_contract, file.exact
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    boxes = BoxComparison(tolerance)
    for _, _, image, geometry in pictures.of(contract.preprocessing):
        in_torch = model(torch.from_numpy(image).to(device)).cpu().numpy()
        (in_onnxruntime,) = session.run([OUTPUT_NAME], {INPUT_NAME: image})
        boxes.add(
            *(detections_from_output(output, contract, geometry, conf=0.0) for output in (in_torch, in_onnxruntime))
        )
    model.train(was_training)
    return boxes.result()


class BoxComparison:
    """Adds up comparisons of the detections of two sides, `reference` and `other`, image by image."""

    def __init__(self, tolerance: Tolerance | None = None) -> None:
        self._tolerance = tolerance or Tolerance()
        self._images, self._total, self._agreeing = 0, 0, 0
        self._shift_px, self._score_change, self._best, self._best_reference = 0.0, 0.0, 0.0, 0.0

    def add(self, reference: Detections, other: Detections) -> None:
        """Matches the detections of one image, of all scores, from both sides."""
        tolerance = self._tolerance
        self._images += 1
        self._best_reference = max(self._best_reference, float(reference.scores.max(initial=0)))
        self._best = max(self._best, float(other.scores.max(initial=0)))
        for one, two in ((reference, other), (other, reference)):
            # The partner may lie just below the score from which detections count.
            pairs = match_detections(above(one, COMPARED_SCORE), above(two, COMPARED_SCORE - tolerance.score_change))
            self._total += pairs.total
            agree = (pairs.shift_px <= tolerance.shift_px) & (pairs.score_change <= tolerance.score_change)
            self._agreeing += int(agree.sum())
            self._shift_px = max(self._shift_px, float(pairs.shift_px.max(initial=0)))
            self._score_change = max(self._score_change, float(pairs.score_change.max(initial=0)))

    def result(self) -> Parity:
        """What was added so far."""
        share = self._agreeing / self._total if self._total else 1.0
        return Parity(
            self._images, self._total, share, self._shift_px, self._score_change, self._best, self._best_reference
        )


def above(detections: Detections, score: float) -> Detections:
    """The detections with at least this score."""
    keep = detections.scores >= score
    return Detections(detections.xyxy[keep], detections.scores[keep], detections.class_ids[keep], detections.names)


@dataclass(frozen=True)
class Pairs:
    """Matched detections: largest corner shift in px and score change of each pair; `total` to be matched."""

    total: int
    shift_px: np.ndarray
    score_change: np.ndarray


def match_detections(a: Detections, b: Detections) -> Pairs:
    """Pairs each detection of `a`, best first, with the nearest free one of `b` of its class within 16 px."""
    free = np.ones(len(b), bool)
    shifts, changes = [], []
    for box, score, class_id in zip(a.xyxy, a.scores, a.class_ids, strict=True):
        distance = np.abs(b.xyxy - box).max(axis=1, initial=0)  # (M, 4) -> (M,)
        distance = np.where(free & (b.class_ids == class_id), distance, np.inf)
        if len(distance) and distance.min() <= 16:
            nearest = int(distance.argmin())
            free[nearest] = False
            shifts.append(distance[nearest])
            changes.append(abs(b.scores[nearest] - score))
    return Pairs(len(a), np.array(shifts, np.float32), np.array(changes, np.float32))


def require_parity(parity: Parity, name: str, tolerance: Tolerance | None = None) -> None:
    """SilentModelError for a model that detects nothing, ParityError beyond the tolerance."""
    require_detections(parity, name)
    require_agreement(
        parity,
        f"{name}: torch and onnxruntime disagree.",
        tolerance or Tolerance(),
        mend="export again; report it with verify.json if it stays so",
    )


def require_detections(parity: Parity, name: str) -> None:
    """SilentModelError where the file detects nothing on any image."""
    if parity.best_score < SILENT_SCORE:
        reference = f"torch's best score is {parity.best_score_reference:.3f}"
        raise SilentModelError(
            f"{name} detects nothing on {parity.images} real images.",
            expected=f"a best score of at least {SILENT_SCORE} ({reference})",
            found=f"a best score of {parity.best_score:.4f} in onnxruntime",
            mend="export again; if torch is silent too, the checkpoint does not fit the data set",
        )


def require_agreement(parity: Parity, what: str, tolerance: Tolerance, *, detail: str = "", mend: str) -> None:
    """ParityError(`what`) beyond the tolerance; `detail` follows what was found."""
    if parity.agreeing_share < tolerance.agreeing_share:
        raise ParityError(
            what,
            expected=f"{tolerance.agreeing_share:.0%} of detections within {tolerance.shift_px} px and "
            f"{tolerance.score_change} of score",
            found=f"{parity.agreeing_share:.1%} of {parity.detections}; largest shift "
            f"{parity.largest_shift_px:.2f} px, largest score change {parity.largest_score_change:.3f}{detail}",
            mend=mend,
        )
