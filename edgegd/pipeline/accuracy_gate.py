"""An accuracy gate from end to end: run folders, what they detected, the verdict, and the folder that keeps it.

FOLDER/gate.json        the verdict, what was compared, and everything that the answer rests on
FOLDER/gate.md          the table, for a pull request
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgegd.accuracy.gate import FEWEST_IMAGES, accuracy_gate
from edgegd.accuracy.measured import MeasuredImages
from edgegd.errors import BaselineShapeError
from edgegd.foreign_text import one_line
from edgegd.pipeline.artifacts import DATA, DESCENT, PORTABLE, as_made
from edgegd.pipeline.gate import GateOutcome, store_outcome
from edgegd.pipeline.measured import require_unchanged, stored_measured
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.pipeline.shipped import variant_to_ship
from edgegd.safe_outputs import own_folder

_RARE_IMAGES = 5  # a class on fewer of them has an AP that one image decides
_NAMED = 3  # of things that differ, in a message
_CHOSEN_HERE = "The epoch of QAT was chosen on these same images, so the answer is optimistic for QAT (data.select)."


@dataclass(frozen=True, kw_only=True)
class AccuracyRequest:
    """What is asked of an accuracy gate.

    `run` is the candidate's run folder; `variant` is ptq or qat, empty for the one that its report says to ship. It is
    held against FP32 of the same run, or against the model of the run `against`: the same variant there, or the one to
    ship. `margin_points` is the loss of mAP50-95 that is allowed, in points, 0 or more.
    """

    run: Path
    margin_points: float
    against: Path | None = None
    variant: str = ""


def gate_accuracy(request: AccuracyRequest, folder: Path) -> GateOutcome:
    """Judges the candidate, and keeps the answer in `folder`, which must not hold a gate yet.

    Raises RunFolderMismatchError, MissingArtifactError where the run's mAP is not of its present files or its images or
    labels were changed, and BaselineShapeError where the other run was measured on other images, labels or classes, or
    by other settings.
    """
    run = RunFolder.open_existing(request.run)
    own = stored_measured(run)
    variant = request.variant or variant_to_ship(run)
    absent = require_unchanged(run, own)
    notes = [*_rare_classes(own), *([_CHOSEN_HERE] if variant == "qat" and _is_optimistic(run) else [])]
    if absent:
        notes.append(f"{absent} of the images are not here any more: what was measured of them counts.")
    if request.against is None:
        stored, other, reference, baseline = run, own, "fp32", f"{request.run}: fp32"
    else:
        stored = RunFolder.open_existing(request.against)
        other = stored_measured(stored)
        reference = request.variant or variant_to_ship(stored)
        require_comparable(own, other, request.run, request.against)
        baseline = f"{request.against}: {reference}"
    candidate = f"{request.run}: {variant}"
    judged = accuracy_gate(
        own.matches(variant),
        other.matches(reference),
        request.margin_points / 100,
        names=(one_line(candidate), one_line(baseline)),
        notes=notes,
        same_file=_file_hash(run, variant) == _file_hash(stored, reference),
    )
    outcome = GateOutcome(candidate, baseline, None, None, judged)
    own_folder(folder)
    store_outcome(folder, outcome, None, {})
    return outcome


def _file_hash(run: RunFolder, variant: str) -> str:
    """Of a model's file; of one that is not there any more its own name, which is equal to no other's."""
    file = run.artifact(PORTABLE[variant])
    return sha256_of(file) if file.is_file() else f"{run.path} {variant}"


def require_comparable(own: MeasuredImages, other: MeasuredImages, run: Path, against: Path) -> None:
    """BaselineShapeError where two runs were not measured on the same images, labels and classes, by equal settings."""
    differing = (
        _different_classes(own, other)
        or _different_settings(own, other)
        or _different_images(own, other)
        or _different_labels(own, other)
    )
    if differing:
        raise BaselineShapeError(
            f"{one_line(run)} cannot be gated against {one_line(against)}: they were not measured alike.",
            expected="the same images, labels, classes and settings of `accuracy`",
            found=differing,
            mend="run the baseline's recipe again with this data set and these settings",
        )


def _different_classes(own: MeasuredImages, other: MeasuredImages) -> str:
    if own.truth.names == other.truth.names:
        return ""
    return f"the classes {_listed(own.truth.names)} here, {_listed(other.truth.names)} there"


def _different_settings(own: MeasuredImages, other: MeasuredImages) -> str:
    return "; ".join(
        f"accuracy.{key} {value:g} here, {other.settings[key]:g} there"
        for key, value in own.settings.items()
        if value != other.settings[key]
    )


def _different_images(own: MeasuredImages, other: MeasuredImages) -> str:
    if own.sha256 == other.sha256:
        return ""
    only = [
        [path.name for path, sha256 in zip(one.truth.image_paths, one.sha256, strict=True) if sha256 not in hashes]
        for one, hashes in ((own, set(other.sha256)), (other, set(own.sha256)))
    ]
    places = [
        f"{len(names)} images only {where} ({_listed(names)})"
        for names, where in zip(only, ("here", "there"), strict=True)
        if names
    ]
    return "; ".join(places) or "the same images in another order, or some of them more often"


def _different_labels(own: MeasuredImages, other: MeasuredImages) -> str:
    names = [
        path.name
        for path, *labels in zip(
            own.truth.image_paths,
            own.truth.boxes,
            other.truth.boxes,
            own.truth.class_ids,
            other.truth.class_ids,
            strict=True,
        )
        if not (np.array_equal(labels[0], labels[1]) and np.array_equal(labels[2], labels[3]))
    ]
    return f"other labels of {len(names)} images ({_listed(names)})" if names else ""


def _rare_classes(own: MeasuredImages) -> list[str]:
    """A sentence on the classes whose AP a single image decides."""
    truth = own.truth
    counts = np.zeros(len(truth.names), np.int64)
    for class_ids in truth.class_ids:
        counts[np.unique(class_ids)] += 1
    rare = [name for name, count in zip(truth.names, counts.tolist(), strict=True) if 0 < count < _RARE_IMAGES]
    labelled = sum(len(class_ids) > 0 for class_ids in truth.class_ids)
    if not rare or labelled < FEWEST_IMAGES:
        return []
    all_classes = np.count_nonzero(counts)
    return [f"{len(rare)} of {all_classes} classes are on fewer than {_RARE_IMAGES} images each ({_listed(rare)})."]


def _is_optimistic(run: RunFolder) -> bool:
    """Whether the epoch of QAT was chosen on the images that are measured here."""
    run.require(DESCENT)
    with as_made(run, DATA, DESCENT):
        data, descent = run.read_json(DATA), run.read_json(DESCENT)
        return bool(descent["best_epoch"] > 0 and not data.get("test_images") and not data.get("held_out_images"))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(one_line(name, 60) for name in names[:_NAMED])
    return shown + (", ..." if len(names) > _NAMED else "")
