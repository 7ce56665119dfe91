"""Checks of files: images that cannot be used, label files that belong to no image, and the reverse; stored forms."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from edgegd.data.doctor.appearance import contrast_of
from edgegd.data.doctor.finding import Finding, brief, counted, shown
from edgegd.data.doctor.resemblance import LEAST_CONTRAST
from edgegd.data.doctor.survey import ImageRecord, Survey
from edgegd.data.image_files import is_image, walk
from edgegd.data.labels import label_path
from edgegd.errors import NoImagesError

_NOT_LABELS = frozenset({"classes.txt", "labels.txt", "readme.txt", "license.txt", "obj.names.txt", "notes.txt"})
"""What annotation tools leave beside label files."""

_MANY_FOLDERS = 100_000


def unreadable_images(survey: Survey) -> Finding | None:
    """Images that a run refuses, or that Ultralytics would leave out of training."""
    found = [image for image in survey.images if image.problem]
    if not found:
        return None
    return Finding(
        "error",
        f"{counted(len(found), 'image')} cannot be used.",
        len(found),
        shown(f"{brief(image.path, survey.root)}: {image.problem}" for image in found),
        "replace these files, or remove them together with their label files",
    )


def images_without_labels(survey: Survey) -> Finding | None:
    """Images without a label file: `data.unlabelled: error`, the default, refuses them."""
    found = [image for image in survey.images if not image.has_labels]
    if not found:
        return None
    return Finding(
        "error",
        f"{counted(len(found), 'image')} of {len(survey.images):,} without a label file.",
        len(found),
        shown(brief(image.path, survey.root) for image in found),
        f"label them; where such images show nothing to detect, write empty label files (the first would be "
        f"{shown([label_path(found[0].path)])[0]}), or set data.unlabelled: background in the recipe",
    )


def labels_without_images(survey: Survey) -> Finding | None:
    """Label files beside which there is no image of that name, in the folders that hold the label files of the set."""
    found = sorted(_orphans(survey))
    if not found:
        return None
    return Finding(
        "warning",
        f"{counted(len(found), 'label file')} without an image.",
        len(found),
        shown(brief(path, survey.root) for path in found),
        "put the images back, rename them as their label files are named, or remove these label files",
    )


def _orphans(survey: Survey) -> Iterator[Path]:
    """Images are looked for beside the known images too: those that no list names still have labels of their own."""
    named = {label_path(image.path) for image in survey.images}
    lists = {entry for entries in survey.described.splits.values() for entry in entries if entry.suffix == ".txt"}
    for images, labels in _pairs_of_folders(survey):
        stems = {os.path.splitext(name)[0] for name in _names(images) if is_image(Path(name))}
        for name in _names(labels):
            path = labels / name
            is_label = name.endswith(".txt") and not name.startswith(".") and name.lower() not in _NOT_LABELS
            if is_label and path not in named and path not in lists and os.path.splitext(name)[0] not in stems:
                yield path


def _pairs_of_folders(survey: Survey) -> Iterator[tuple[Path, Path]]:
    """Folders of images with those of their labels, and label folders below a split's that belong to no images."""
    pairs = {label_path(folder / "any.jpg").parent: folder for folder in {image.path.parent for image in survey.images}}
    for entry in (entry for entries in survey.described.splits.values() for entry in entries):
        labels = label_path(entry / "any.jpg").parent
        if entry.is_dir() and labels.is_dir():
            try:
                for place, _ in islice(walk(labels), _MANY_FOLDERS):
                    pairs.setdefault(place, entry / place.relative_to(labels))
            except (NoImagesError, OSError):  # links in a circle, or too deep: those found until then
                continue
    yield from ((images, labels) for labels, images in sorted(pairs.items()))


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (OSError, ValueError):  # ValueError: a name with a null character
        return []


def turned_images(survey: Survey) -> Finding | None:
    """Images that EXIF turns or mirrors when they are read: some annotation tools and devices do not."""
    found = [image for image in survey.readable if image.stored.orientation != 1]
    if not found:
        return None
    return Finding(
        "warning",
        f"{counted(len(found), 'image')} of {len(survey.readable):,} that EXIF data turns or mirrors when they are "
        "read.",
        len(found),
        shown(f"{brief(image.path, survey.root)}: orientation {image.stored.orientation}" for image in found),
        "look whether the boxes fit the upright picture, then save these images upright and without EXIF data",
        {"boxes": sum(len(image.boxes) for image in found)},
    )


def deep_images(survey: Survey) -> Finding | None:
    """Images of more than eight bits: training and the device get the upper eight."""
    found = [image for image in survey.readable if image.stored.bits > 8]
    if not found:
        return None
    return Finding(
        "warning",
        f"{counted(len(found), 'image')} of {len(survey.readable):,} of more than 8 bits per value, of which the "
        "upper 8 are used.",
        len(found),
        shown(f"{brief(image.path, survey.root)}: {image.stored.bits} bits" for image in found),
        "convert them to 8 bits with a range that suits them: 12 bits stored in 16 lose all but 4",
    )


def gray_images(survey: Survey) -> Finding | None:
    """Images without colours in a set that is read in colours."""
    if survey.described.channels != 3:
        return None
    found = [image for image in survey.readable if image.is_colourless]
    if not found:
        return None
    every = len(found) == len(survey.readable)
    return Finding(
        "note",
        "Every image is gray." if every else f"{counted(len(found), 'image')} of {len(survey.readable):,} gray.",
        len(found),
        shown(f"{brief(image.path, survey.root)}: {_kind(image)}" for image in found),
        "`channels: 1` in the YAML, with a checkpoint of one channel, makes the first layer cheaper"
        if every
        else "make sure that the device sees both kinds, and that both are in every split",
    )


def _kind(image: ImageRecord) -> str:
    return "stored with one channel" if image.stored.is_gray else "three equal channels"


def plain_images(survey: Survey) -> Finding | None:
    """Images that show nothing: lens caps, failed conversions, 12 bits taken for 16."""
    found = [
        (image, float(value))
        for image, value in zip(survey.images, contrast_of(survey.pictures), strict=True)
        if not image.problem and value < LEAST_CONTRAST
    ]
    if not found:
        return None
    return Finding(
        "warning",
        f"{counted(len(found), 'image')} without contrast: the values of a small copy spread by less than "
        f"{LEAST_CONTRAST:g} of 255.",
        len(found),
        shown(f"{brief(image.path, survey.root)}: {value:.1f}" for image, value in found),
        "look at them, and remove those that show nothing",
    )
