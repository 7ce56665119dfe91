"""YOLO label files: where an image's labels are, and how their rows are read, both by Ultralytics' rules.

A row is `class cx cy w h`, or `class x1 y1 x2 y2 x3 y3 ...` for a polygon, whose bounding box counts; coordinates are
fractions of the image's width and height (ultralytics/data/utils.py, img2label_paths and verify_image_label). As there,
a polygon may have corners beyond the border as long as its box is within the tolerance.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 0.01
"""How far a coordinate may lie outside [0, 1]: Ultralytics' own tolerance, for rounding in annotation tools."""

MistakeKind = Literal["form", "class", "outside", "size"]
"""No row of numbers; a class that does not exist; coordinates outside the image; a box without an area."""


def label_path(image: Path) -> Path:
    """The label file of an image: the last folder named `images` becomes `labels`, the suffix `.txt`."""
    head, found, tail = str(image).rpartition(f"{os.sep}images{os.sep}")
    path = f"{head}{os.sep}labels{os.sep}{tail}" if found else str(image)
    return Path(path.rsplit(".", 1)[0] + ".txt")


@dataclass(frozen=True)
class RowMistake:
    """What is wrong with a row: its line from 1, a sentence, and of what kind it is."""

    line: int
    kind: MistakeKind
    text: str


@dataclass(frozen=True)
class LabelRows:
    """All that a label file's text says.

    `boxes` (N, 5) float64 are `class cx cy w h` in fractions of the image and `lines` (N) the lines, from 1, that they
    stand in; `repeated` are the lines of rows that are equal in float32 to an earlier one, which count once.
    """

    boxes: NDArray[np.float64]
    lines: tuple[int, ...]
    mistakes: tuple[RowMistake, ...]
    repeated: tuple[int, ...]


def read_labels(text: str, classes: int) -> tuple[NDArray[np.float64], list[tuple[int, str]]]:
    """The rows of a label file's text as boxes (N, 5) float64 `class cx cy w h`, and its mistakes.

    A mistake is a 1-based line and a sentence; rows with one are left out of the boxes. Rows that are equal in float32
    count once, as Ultralytics counts them in training and validation.
    """
    rows = read_rows(text, classes)
    return rows.boxes, [(mistake.line, mistake.text) for mistake in rows.mistakes]


def read_rows(text: str, classes: int) -> LabelRows:
    """As read_labels, with the line of every box, the kind of every mistake, and the rows that only repeat others."""
    boxes: dict[bytes, tuple[int, tuple[float, ...]]] = {}
    mistakes: list[RowMistake] = []
    repeated: list[int] = []
    lengths: set[bool] = set()
    for line, row in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        words = row.split()
        if not words:
            continue
        lengths.add(len(words) > 6)
        if len(lengths) > 1:
            mistakes.append(RowMistake(line, "form", "box rows and polygon rows in one file"))
            break
        box = _read_row(words, classes)
        if isinstance(box, _Refused):
            mistakes.append(RowMistake(line, box.kind, box.text))
            continue
        key = np.array(words, np.float64).astype(np.float32).tobytes()
        if key in boxes:
            repeated.append(line)
        else:
            boxes[key] = line, box
    values = np.array([box for _, box in boxes.values()], dtype=np.float64).reshape(-1, 5)  # [] -> (0, 5)
    return LabelRows(values, tuple(line for line, _ in boxes.values()), tuple(mistakes), tuple(repeated))


class _Refused(NamedTuple):
    kind: MistakeKind
    text: str


def _read_row(words: list[str], classes: int) -> tuple[float, ...] | _Refused:
    """One row as (class, cx, cy, w, h), or what is wrong with it."""
    is_polygon = len(words) >= 7 and len(words) % 2 == 1
    if len(words) != 5 and not is_polygon:
        return _Refused("form", f"expected 5 numbers (class cx cy w h), found {len(words)}")
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return _Refused("form", f"expected numbers, found {' '.join(words)[:60]!r}")
    if not all(map(math.isfinite, numbers)):
        return _Refused("form", "expected finite numbers")
    kind, *coordinates = numbers
    if kind != int(kind):
        return _Refused("class", f"class {words[0]} is not a whole number")
    if not 0 <= kind < classes:
        return _Refused("class", f"class {int(kind)} does not exist: the data set has classes 0 to {classes - 1}")
    if is_polygon:
        xs, ys = coordinates[0::2], coordinates[1::2]
        left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
        numbers = [kind, (left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
    outside = [value for value in numbers[1:] if not -TOLERANCE <= value <= 1 + TOLERANCE]
    if outside:
        what = "of the polygon's box, coordinate" if is_polygon else "coordinate"
        return _Refused("outside", f"{what} {outside[0]:g} is outside 0..1 (fractions of the image, not pixels)")
    if not is_polygon and min(coordinates[2:]) <= 0:
        return _Refused("size", f"width and height must be positive, found {words[3]} {words[4]}")
    return tuple(numbers)
