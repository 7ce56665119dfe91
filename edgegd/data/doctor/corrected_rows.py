"""The rows of a label file, corrected where there is one right answer, and left as they are where there is none."""

from __future__ import annotations

from collections import Counter

from edgegd.data.doctor.boxes import reaching_out
from edgegd.data.labels import LabelRows, read_rows

CUT_OFF, REMOVED_OUTSIDE, REMOVED_EMPTY, REMOVED_REPEATED, LEFT_IN_PIXELS, LEFT = (
    "rows_cut_off_at_the_border",
    "rows_outside_the_image_removed",
    "rows_without_an_area_removed",
    "repeated_rows_removed",
    "rows_in_pixels_left_as_they_are",
    "other_wrong_rows_left_as_they_are",
)
_FRACTIONS = 2.0
"""A coordinate beyond this, or below minus one, is no fraction that went over the border but a number of pixels."""


def corrected_rows(text: str, classes: int) -> tuple[str, Counter[str]]:
    """A label file's text with its rows corrected, and how many rows were corrected in which way.

    Boxes that reach over the border are cut off there, and removed where nothing is left; boxes without an area and
    rows that repeat another are removed. Rows that are no numbers, of unknown classes, or in pixels stay. A text with
    nothing to correct is returned as it is.
    """
    rows = read_rows(text, classes)
    done: Counter[str] = Counter()
    kept = []
    mistakes = {mistake.line: mistake.kind for mistake in rows.mistakes}
    over, repeated = _over_the_border(rows), set(rows.repeated)
    for line, row in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        if line in repeated:
            done[REMOVED_REPEATED] += 1
        elif mistakes.get(line) == "size":
            done[REMOVED_EMPTY] += 1
        elif line in over or mistakes.get(line) == "outside":
            cut = _cut_off(row.split())
            if cut is None:
                kept.append(row)
                done[LEFT_IN_PIXELS] += 1
            elif cut:
                kept.append(cut)
                done[CUT_OFF] += 1
            else:
                done[REMOVED_OUTSIDE] += 1
        else:
            kept.append(row)
            done[LEFT] += line in mistakes
    if set(+done) <= {LEFT_IN_PIXELS, LEFT}:
        return text, +done
    return "".join(f"{row}\n" for row in kept), +done


def _over_the_border(rows: LabelRows) -> set[int]:
    return {line for line, over in zip(rows.lines, reaching_out(rows.boxes), strict=True) if over}


def _cut_off(words: list[str]) -> str | None:
    """The row within the image; empty where nothing of it is inside, None where it is not in fractions."""
    numbers = [float(word) for word in words[1:]]
    if max(numbers) > _FRACTIONS or min(numbers) < 1 - _FRACTIONS:
        return None
    if len(numbers) > 4:
        inside = [min(max(number, 0.0), 1.0) for number in numbers]
        is_empty = len(set(inside[0::2])) == 1 or len(set(inside[1::2])) == 1
    else:
        cx, cy, width, height = numbers
        left, right = max(cx - width / 2, 0.0), min(cx + width / 2, 1.0)
        top, bottom = max(cy - height / 2, 0.0), min(cy + height / 2, 1.0)
        is_empty = min(width, height) <= 0 or right <= left or bottom <= top
        inside = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
    return "" if is_empty else " ".join([words[0], *(f"{number:.6f}" for number in inside)])
