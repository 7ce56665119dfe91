"""Checks of label files: rows that cannot be read, classes that do not exist, boxes outside, empty, or doubled."""

from __future__ import annotations

from edgegd.data.doctor.boxes import COMPARED_BOXES, SAME_PLACE, reaching_out
from edgegd.data.doctor.finding import Finding, brief, counted, shown
from edgegd.data.doctor.survey import ImageRecord, Survey
from edgegd.data.labels import MistakeKind, label_path
from edgegd.foreign_text import one_line

MOST_BOXES = 300
"""What Ultralytics' detectors return of one image (`max_det`)."""
DOUBLED_SHARE = 0.01
"""Of all boxes, from which doubled boxes are a warning. Real sets have some: BCCD 6 of 3,941."""


def unreadable_labels(survey: Survey) -> Finding | None:
    """Label files that cannot be read, and rows that are no numbers."""
    broken = [image for image in survey.images if image.label_problem]
    finding = _mistakes(survey, "form", "cannot be read", "a row is `class cx cy w h` in fractions of the image")
    if not broken:
        return finding
    files = shown(f"{brief(label_path(image.path), survey.root)}: {image.label_problem}" for image in broken)
    rows = finding.count if finding else 0
    more = f", and {counted(rows, 'row')} in others" if finding else ""
    return Finding(
        "error",
        f"{counted(len(broken), 'label file')} cannot be read{more}.",
        len(broken) + rows,
        shown((*files, *(finding.examples if finding else ()))),
        "write them again as text in UTF-8: a row is `class cx cy w h` in fractions of the image",
    )


def unknown_classes(survey: Survey) -> Finding | None:
    """Rows of classes that the YAML does not name."""
    last = len(survey.described.names) - 1
    return _mistakes(survey, "class", "of classes that do not exist", f"use classes 0 to {last}, or correct `names`")


def coordinates_outside(survey: Survey) -> Finding | None:
    """Rows whose centre or size is outside 0..1: Ultralytics leaves out the whole image for one of them."""
    return _mistakes(
        survey,
        "outside",
        "with coordinates outside the image",
        "coordinates are fractions of the image: divide pixels by its width and height, cut boxes off at its border",
    )


def empty_boxes(survey: Survey) -> Finding | None:
    """Rows of boxes without an area."""
    return _mistakes(survey, "size", "of boxes without width or height", "remove these rows")


def _mistakes(survey: Survey, kind: MistakeKind, problem: str, mend: str) -> Finding | None:
    count = sum(dict(image.mistake_counts).get(kind, 0) for image in survey.images)
    if not count:
        return None
    worded = (
        f"{brief(label_path(image.path), survey.root)}: {text}"
        for image in survey.images
        for found, text in image.mistakes
        if found == kind
    )
    return Finding("error", f"{counted(count, 'row')} {problem}.", count, shown(worded), mend)


def boxes_over_the_border(survey: Survey) -> Finding | None:
    """Boxes with their centre inside that reach over the border by more than 1 % of the image."""
    found = [(image, int(reaching_out(image.boxes).sum())) for image in survey.images]
    found = [(image, count) for image, count in found if count]
    total = sum(count for _, count in found)
    if not found:
        return None
    return Finding(
        "warning",
        f"{counted(total, 'box', 'boxes')} in {counted(len(found), 'image')} reach over the image's border.",
        total,
        shown(f"{brief(label_path(image.path), survey.root)}: {counted(count, 'row')}" for image, count in found),
        "cut them off at the border: a detector cannot find the part that is not in the picture",
    )


def repeated_rows(survey: Survey) -> Finding | None:
    """Rows that are equal to an earlier one of their file; they count once in training and here."""
    found = [image for image in survey.images if image.repeated]
    total = sum(image.repeated for image in found)
    if not found:
        return None
    return Finding(
        "warning",
        f"{counted(total, 'row')} in {counted(len(found), 'label file')} stand there twice; they count once.",
        total,
        shown(f"{brief(label_path(image.path), survey.root)}: {counted(image.repeated, 'row')}" for image in found),
        "remove them, and look at what wrote them: other readers than Ultralytics' count them twice",
    )


def doubled_boxes(survey: Survey) -> Finding | None:
    """Two boxes of one class at one place: one of them is never found, and costs mAP."""
    where = f"of one class at one place (overlap of {SAME_PLACE:g} or more)"
    return _at_one_place(survey, True, where, "look at them, and remove one box of each pair")


def boxes_of_two_classes(survey: Survey) -> Finding | None:
    """Two boxes of different classes at one place: at most one of them is right, unless classes overlap by design."""
    where = "of different classes at one place"
    return _at_one_place(survey, False, where, "look at them, and keep the class that is right")


def _at_one_place(survey: Survey, same_class: bool, where: str, mend: str) -> Finding | None:
    found = _pairs(survey, same_class=same_class)
    if not found:
        return None
    boxes = sum(len(image.boxes) for image in survey.images)
    return Finding(
        "warning" if len(found) >= DOUBLED_SHARE * boxes else "note",
        f"{counted(len(found), 'pair')} of boxes {where}.",
        len(found),
        shown(found),
        mend,
        {"boxes": boxes, "share_of_boxes": len(found) / boxes},
    )


def _pairs(survey: Survey, *, same_class: bool) -> list[str]:
    """Pairs of boxes at one place, each in words."""
    found = []
    for image, first, second in survey.boxes_at_one_place:
        kinds = int(image.boxes[first, 0]), int(image.boxes[second, 0])
        if (kinds[0] == kinds[1]) == same_class:
            names = dict.fromkeys(one_line(survey.described.names[kind], 40) for kind in kinds)
            found.append(f"{brief(label_path(image.path), survey.root)}: {' and '.join(names)}")
    return found


def crowded_images(survey: Survey) -> Finding | None:
    """Images with more boxes than a detector returns."""
    found = [image for image in survey.images if len(image.boxes) > MOST_BOXES]
    if not found:
        return None
    return Finding(
        "note",
        f"{counted(len(found), 'image')} with more than the {MOST_BOXES} boxes that a detector returns.",
        len(found),
        shown(_with_boxes(image, survey) for image in found),
        f"cut these images into parts; of images with more than {COMPARED_BOXES:,} boxes no pairs were compared",
    )


def _with_boxes(image: ImageRecord, survey: Survey) -> str:
    return f"{brief(image.path, survey.root)}: {counted(len(image.boxes), 'box', 'boxes')}"
