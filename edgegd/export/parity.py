"""Parity: what torch computes under fake quantization against what onnxruntime computes, box by box, on real images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from edgegd.errors import ParityError, SilentModelError
from edgegd.runtime.contract import INPUT_NAME, OUTPUT_NAME
from edgegd.runtime.detector import Detections, detections_from_output
from edgegd.runtime.draw import read_image
from edgegd.runtime.letterbox import preprocess
from edgegd.runtime.session import load_model

COMPARED_SCORE = 0.05  # detections below this score are noise of both sides
SILENT_SCORE = 0.01  # a detector whose best score on real images is below this detects nothing


@dataclass(frozen=True)
class Tolerance:
    """How far torch and onnxruntime may be apart.

    Both compute with the same 8-bit codes; where a float32 sum falls next to a half-way value one code can differ by
    one. That moves single boxes by a fraction of a pixel, and may push a box across the score threshold.
    """

    matched_share: float = 0.99
    shift_px: float = 1.0
    score_change: float = 0.02


@dataclass(frozen=True)
class Parity:
    """The comparison over all images: detections of either side, the share matched, the largest differences."""

    images: int
    detections: int
    matched_share: float
    largest_shift_px: float
    largest_score_change: float
    best_score: float
    best_score_torch: float


@torch.no_grad()
def measure_parity(model: torch.nn.Module, onnx_path: Path, image_paths: Sequence[Path]) -> Parity:
    """Runs `model` (torch, evaluation mode) and the exported file on the same images and matches their detections."""
    session, contract = load_model(onnx_path)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    total, matched, shift, change, best, best_torch = 0, 0, 0.0, 0.0, 0.0, 0.0
    for path in image_paths:
        image, geometry = preprocess(read_image(path), contract.preprocessing)
        sides = []
        for output in (
            model(torch.from_numpy(image).to(device)).cpu().numpy(),
            session.run([OUTPUT_NAME], {INPUT_NAME: image})[0],
        ):
            sides.append(detections_from_output(output, contract, geometry, conf=0.0))
        best_torch = max(best_torch, float(sides[0].scores.max(initial=0)))
        best = max(best, float(sides[1].scores.max(initial=0)))
        pairs = match_detections(*(above(side, COMPARED_SCORE) for side in sides))
        total += pairs.total
        matched += 2 * len(pairs.shift_px)
        shift = max(shift, float(pairs.shift_px.max(initial=0)))
        change = max(change, float(pairs.score_change.max(initial=0)))
    model.train(was_training)
    return Parity(len(image_paths), total, matched / total if total else 1.0, shift, change, best, best_torch)


def above(detections: Detections, score: float) -> Detections:
    """The detections with at least this score."""
    keep = detections.scores >= score
    return Detections(detections.xyxy[keep], detections.scores[keep], detections.class_ids[keep], detections.names)


@dataclass(frozen=True)
class Pairs:
    """Matched detections of two sides: largest corner shift in px and score change of each pair; `total` of both sides."""

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
    return Pairs(len(a) + len(b), np.array(shifts, np.float32), np.array(changes, np.float32))


def require_parity(parity: Parity, name: str, tolerance: Tolerance | None = None) -> None:
    """SilentModelError for a model that detects nothing, ParityError beyond the tolerance."""
    tolerance = tolerance or Tolerance()
    if parity.best_score < SILENT_SCORE:
        torch_side = f"torch's best score is {parity.best_score_torch:.3f}"
        raise SilentModelError(
            f"{name} detects nothing on {parity.images} real images.",
            expected=f"a best score of at least {SILENT_SCORE} ({torch_side})",
            found=f"a best score of {parity.best_score:.4f} in onnxruntime",
            mend="export again; if torch is silent too, the checkpoint does not fit the data set",
        )
    problems = []
    if parity.matched_share < tolerance.matched_share:
        problems.append(f"{parity.matched_share:.1%} of {parity.detections} detections match")
    if parity.largest_shift_px > tolerance.shift_px:
        problems.append(f"a box moves by {parity.largest_shift_px:.2f} px")
    if parity.largest_score_change > tolerance.score_change:
        problems.append(f"a score changes by {parity.largest_score_change:.3f}")
    if problems:
        raise ParityError(
            f"{name}: torch under fake quantization and onnxruntime disagree.",
            expected=f"{tolerance.matched_share:.0%} of detections matched, shifts up to {tolerance.shift_px} px, "
            f"score changes up to {tolerance.score_change}",
            found="; ".join(problems),
            mend="check with `edgegd doctor` that this CPU is of the recipe's target profile (AVX2 without VNNI saturates)",
        )
