"""All images of a measurement, FP32 beside an INT8 model: a row for each image, and totals by kind, class and size.

Each image is looked at once, by itself, so time and memory grow as the number of images does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegd.accuracy.error_kinds import BOX_STATES, DETECTION_STATES, KINDS, ImageErrors, errors_in
from edgegd.accuracy.evaluate import distinct
from edgegd.accuracy.image_changes import Changes, changes_between
from edgegd.accuracy.image_damage import damage, least_score, lrp, presence
from edgegd.accuracy.measured import MeasuredImages
from edgegd.accuracy.object_sizes import SIZES
from edgegd.runtime.detector import Detections

ROLES = ("reference", "model")
_MISSED = len(DETECTION_STATES)
Counts = NDArray[np.int64]


def compare_images(
    measured: MeasuredImages,
    model: str,
    reference: str,
    conf: float,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Compares two models of a measurement at the score threshold `conf`, image by image.

    Returns, ready for `json.dumps`: `images`, a row for each image in the order of the measurement; `kinds`, errors of
    either model by kind; `transitions`, from what became of labelled boxes with FP32 to what became of them with INT8,
    the number of boxes; `by_class` and `by_size`; `lost`, `gained`, `moved`, `crossed`, `boxes` (labelled) and
    `reference_boxes` (FP32's detections). `progress(done, total)` is called after each image.
    """
    names, total = distinct(measured.truth.names), len(measured.truth.image_paths)
    height, width = measured.input_sizes[model]
    scales = np.minimum(height / measured.sizes[:, 0], width / measured.sizes[:, 1])
    sums, rows = _Sums(len(names)), []
    for index, path in enumerate(measured.truth.image_paths):
        image = _Image(measured, index, (reference, model), conf)
        sums.add(image, float(scales[index]) ** 2)
        rows.append({"image": str(path), "size": measured.sizes[index].tolist(), **image.row()})
        if progress is not None:
            progress(index + 1, total)
    return {"images": rows, **sums.result(names)}


class _Image:
    """One image, compared."""

    def __init__(self, measured: MeasuredImages, index: int, models: tuple[str, str], conf: float) -> None:
        self.labelled, self.ids = measured.truth.boxes[index], measured.truth.class_ids[index]
        lowest = min(conf, least_score(conf))
        counted = [above(measured.detections[name][index], lowest) for name in models]
        self.found = [above(one, conf) for one in counted]
        self.errors = [self._errors(one) for one in self.found]
        self.changes = changes_between(counted[0], counted[1], conf)
        weighed = [(self._errors(one), presence(one.scores.astype(np.float64), conf)) for one in counted]
        self.damage = damage(weighed[0], weighed[1], self.changes.partner_of)

    def _errors(self, found: Detections) -> ImageErrors:
        return errors_in(found.xyxy.astype(np.float64), found.class_ids, self.labelled, self.ids)

    def row(self) -> dict[str, Any]:
        """Plain numbers and lists."""
        changes = self.changes
        change = float(changes.score_change.mean()) if len(changes.kept) else None
        return {
            "labels": len(self.ids),
            "classes": self.ids.tolist(),
            "damage": round(self.damage.total, 4),
            "damage_on_labels": round(self.damage.boxes, 4),
            "damage_by_false": round(self.damage.false, 4),
            "lost": len(changes.lost),
            "gained": len(changes.gained),
            "crossed": changes.crossed,
            "moved": int(np.count_nonzero(changes.moved)),
            "largest_shift_px": round(float(changes.shift_px.max()), 2) if len(changes.kept) else None,
            "score_change": None if change is None else round(change, 4),
            "loss": {role: round(lrp(errors), 4) for role, errors in zip(ROLES, self.errors, strict=True)},
            "kinds": {role: errors.counts() for role, errors in zip(ROLES, self.errors, strict=True)},
        }


def above(found: Detections, score: float) -> Detections:
    """The detections whose score exceeds this one, best score first."""
    order = np.argsort(-found.scores, kind="stable")
    order = order[found.scores[order] > score]
    return Detections(found.xyxy[order], found.scores[order], found.class_ids[order], found.names)


class _Sums:
    """Counts over images: by model and state of a detection or missed box, by change; each by class and by size."""

    def __init__(self, classes: int) -> None:
        self._axes = {"class": classes, "size": len(SIZES)}
        self._labels = {axis: np.zeros(length, np.int64) for axis, length in self._axes.items()}
        self._states = {axis: np.zeros((2, _MISSED + 1, length), np.int64) for axis, length in self._axes.items()}
        self._changes = {axis: np.zeros((3, length), np.int64) for axis, length in self._axes.items()}
        self._transitions = np.zeros((len(BOX_STATES), len(BOX_STATES)), np.int64)
        self._crossed = self._reference_boxes = 0

    def add(self, image: _Image, square: float) -> None:
        """Counts an image, whose areas times `square` are those in the network's input."""
        labelled = {"class": image.ids, "size": _sizes(image.labelled, square)}
        found = [{"class": one.class_ids, "size": _sizes(one.xyxy, square)} for one in image.found]
        for axis in self._axes:
            np.add.at(self._labels[axis], labelled[axis], 1)
            for model, errors in enumerate(image.errors):
                np.add.at(self._states[axis][model], (errors.detections, found[model][axis]), 1)
                missed = errors.boxes == BOX_STATES.index("missed")
                np.add.at(self._states[axis][model, _MISSED], labelled[axis][missed], 1)
            for change, of in enumerate(_changed(image.changes)):
                np.add.at(self._changes[axis][change], found[of[0]][axis][of[1]], 1)
        np.add.at(self._transitions, (image.errors[0].boxes, image.errors[1].boxes), 1)
        self._crossed += image.changes.crossed
        self._reference_boxes += len(image.found[0])

    def result(self, names: list[str]) -> dict[str, Any]:
        """All counts."""
        classes = [self._row("class", at) for at in range(len(names))]
        sizes = [self._row("size", at) for at in range(len(SIZES))]
        lost, gained, moved = self._changes["size"].sum(axis=1).tolist()
        return {
            "boxes": int(self._labels["class"].sum()),
            "reference_boxes": self._reference_boxes,
            "lost": lost,
            "gained": gained,
            "moved": moved,
            "crossed": self._crossed,
            "kinds": _kinds(self._states["class"].sum(axis=2)),
            "transitions": {
                before: dict(zip(BOX_STATES, row, strict=True))
                for before, row in zip(BOX_STATES, self._transitions.tolist(), strict=True)
            },
            "by_class": [
                {"name": name, "class_id": at, **row}
                for at, (name, row) in enumerate(zip(names, classes, strict=True))
                if row["boxes"] or any(sum(kinds.values()) for kinds in row["kinds"].values())
            ],
            "by_size": [{"size": size, **row} for size, row in zip(SIZES, sizes, strict=True)],
        }

    def _row(self, axis: str, at: int) -> dict[str, Any]:
        changes = dict(zip(("lost", "gained", "moved"), self._changes[axis][:, at].tolist(), strict=True))
        return {"boxes": int(self._labels[axis][at]), **changes, "kinds": _kinds(self._states[axis][:, :, at])}


def _changed(changes: Changes) -> list[tuple[int, NDArray[np.int64]]]:
    """Of the lost, the gained and the moved: whose detections above the threshold they are (0 or 1), and which.

    Detections stand by falling score, so their numbers are the same with those below the threshold.
    """
    return [(0, changes.lost), (1, changes.gained), (0, changes.kept[changes.moved, 0])]


def _kinds(states: Counts) -> dict[str, dict[str, int]]:
    """`states` (2, 7): both models' true detections, then their errors in the order of KINDS."""
    return {role: dict(zip(KINDS, of[1:].tolist(), strict=True)) for role, of in zip(ROLES, states, strict=True)}


def _sizes(boxes: NDArray[np.floating[Any]], square: float) -> NDArray[np.int64]:
    """Which of SIZES each box (N, 4) has in the network's input."""
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) * square
    starts = [low for low, _ in SIZES.values()]
    return np.clip(np.searchsorted(starts, areas, side="right") - 1, 0, None)
