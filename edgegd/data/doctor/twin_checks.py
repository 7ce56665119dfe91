"""Checks of images that are there twice: the same pixels, or nearly, in one split or in two."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np

from edgegd.data.doctor.finding import SHOWN, Finding, brief, counted, shown
from edgegd.data.doctor.resemblance import LEAST_CORRELATION, MOST_BITS, correlation
from edgegd.data.doctor.survey import ImageRecord, Survey

LEAKED = 0.02
"""Share of the images that are measured, from which near-duplicates in an earlier split are a warning. If the model
knew all of these by heart, mAP would be too good by about this share times what it falls short of 1: one point."""
_COMPARED = 200  # members of one group, for the examples

Group = tuple[int, ...]
"""Places in survey.images."""


def same_images(survey: Survey) -> list[Group]:
    """Groups of two or more images whose pixels are equal."""
    return _groups(survey, [image.digest for image in survey.images])


def similar_images(survey: Survey) -> list[Group]:
    """Groups of two or more images that resemble each other, each of different pixels."""
    first = {image.digest: place for place, image in reversed(list(enumerate(survey.images)))}
    groups = _groups(survey, survey.resemblance.groups.tolist())
    distinct = (tuple(place for place in group if first[survey.images[place].digest] == place) for group in groups)
    return [group for group in distinct if len(group) > 1]


def _groups(survey: Survey, keys: Sequence[Hashable]) -> list[Group]:
    """The readable images by their keys, where a key has more than one."""
    found = defaultdict(list)
    for place, (image, key) in enumerate(zip(survey.images, keys, strict=True)):
        if not image.problem:
            found[key].append(place)
    return [tuple(group) for group in found.values() if len(group) > 1]


def leaked_images(survey: Survey) -> Finding | None:
    """The same image in two splits: what is measured on it is learned by heart."""
    groups = [group for group in same_images(survey) if len(_splits(survey, group)) > 1]
    if not groups:
        return None
    count = _later(survey, groups)
    pairs = [_of_two_splits(survey, group) for group in groups]
    return Finding(
        "error",
        f"{counted(count, 'image')} of a later split {_is(count)} in an earlier one as well (equal pixels).",
        count,
        shown(f"{_name(survey, second)} is {_name(survey, first)}" for first, second in pairs),
        "keep each image in one split only: what is trained on and measured as well makes every number too good",
    )


def nearly_leaked_images(survey: Survey) -> Finding | None:
    """Nearly the same image in two splits: another frame of a scene, another size, another compression."""
    groups = [group for group in similar_images(survey) if len(_splits(survey, group)) > 1]
    if not groups and survey.resemblance.is_complete:
        return None
    count = _later(survey, groups)
    measured = sum(len(images) for split, images in survey.splits.items() if split != "train")
    share = count / measured
    pairs = [_closest(survey, group) for group in groups[:SHOWN]]
    sure = "" if survey.resemblance.is_complete else " The search was cut off: there may be more."
    return Finding(
        "warning" if share >= LEAKED else "note",
        f"{counted(count, 'image')} of {measured:,} that are measured {_resemble(count)} images of an earlier split "
        f"({share:.1%}).{sure}",
        count,
        shown(f"{_name(survey, second)} and {_name(survey, first)}: {value:.3f}" for first, second, value in pairs),
        "look at them; keep all frames of a scene in one split",
        {"share": share, "warning_from": LEAKED, "most_bits": MOST_BITS, "least_correlation": LEAST_CORRELATION},
    )


def repeated_images(survey: Survey) -> Finding | None:
    """The same image several times in one split."""
    groups = same_images(survey)
    count = _again(survey, groups)
    if not count:
        return None
    within = [pair for group in groups if (pair := _of_one_split(survey, group)) is not None]
    unequal = _with_other_boxes(survey, groups)
    more = f", {unequal:,} of them with other boxes" if unequal else ""
    return Finding(
        "warning",
        f"{counted(count, 'image')} {_is(count)} in the same split already (equal pixels{more}).",
        count,
        shown(f"{_name(survey, second)} is {_name(survey, first)}" for first, second in within),
        "keep one of each: the others weigh it twice, and different boxes contradict each other",
        {"with_other_boxes": unequal},
    )


def nearly_repeated_images(survey: Survey) -> Finding | None:
    """Nearly the same image several times in one split, as frames of a film are."""
    groups = similar_images(survey)
    count = _again(survey, groups)
    if not count:
        return None
    within = [pair for group in groups if (pair := _of_one_split(survey, group)) is not None]
    return Finding(
        "note",
        f"{counted(count, 'image')} of {len(survey.readable):,} {_resemble(count)} others of the same split.",
        count,
        shown(f"{_name(survey, second)} and {_name(survey, first)}" for first, second in within),
        "of a film, every tenth frame teaches nearly as much; take fewer where training takes too long",
        {"share": count / len(survey.readable)},
    )


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _resemble(count: int) -> str:
    return "resembles" if count == 1 else "resemble"


def _splits(survey: Survey, group: Group) -> dict[str, list[int]]:
    """The images of a group by their splits, in the order train, val, test."""
    found: dict[str, list[int]] = {}
    for place in group:
        found.setdefault(survey.images[place].split, []).append(place)
    return found


def _later(survey: Survey, groups: list[Group]) -> int:
    """Images that are of another split than the first one of their group."""
    return sum(survey.images[place].split != survey.images[group[0]].split for group in groups for place in group)


def _again(survey: Survey, groups: list[Group]) -> int:
    """Images that are not the first one of their group and split."""
    return sum(len(group) - len(_splits(survey, group)) for group in groups)


def _of_two_splits(survey: Survey, group: Group) -> tuple[int, int]:
    first, second = list(_splits(survey, group).values())[:2]
    return first[0], second[0]


def _of_one_split(survey: Survey, group: Group) -> tuple[int, int] | None:
    for places in _splits(survey, group).values():
        if len(places) > 1:
            return places[0], places[1]
    return None


def _closest(survey: Survey, group: Group) -> tuple[int, int, float]:
    """Of the first members of a group the two of different splits that resemble each other most, and how much."""
    first, second = (np.array(places[:_COMPARED]) for places in list(_splits(survey, group).values())[:2])
    every = np.repeat(first, len(second)), np.tile(second, len(first))
    values = correlation(survey.pictures[every[0]], survey.pictures[every[1]])
    best = int(values.argmax())
    return int(every[0][best]), int(every[1][best]), float(values[best])


def _with_other_boxes(survey: Survey, groups: list[Group]) -> int:
    """Images that have other boxes than the first one of their group and split."""
    return sum(
        not np.array_equal(survey.images[place].boxes, survey.images[places[0]].boxes)
        for group in groups
        for places in _splits(survey, group).values()
        for place in places[1:]
    )


def _name(survey: Survey, place: int) -> str:
    image: ImageRecord = survey.images[place]
    return brief(image.path, survey.root)
