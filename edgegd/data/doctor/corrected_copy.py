"""A corrected copy of a data set: its own labels and YAML, and links to the images, which stay where they are.

Every reader finds an image's labels by its path (.../images/a.jpg -> .../labels/a.txt), so labels of its own need image
paths of their own: the copy has a link for each image that it keeps. Splits are list files of these links, because
folders would be resolved to what they lead to. All is written relative to the copy but the links' targets, so the copy
may be moved and the images may not.

    data.yaml  train.txt  val.txt  images/train/a.jpg -> the image  labels/train/a.txt
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from edgegd.atomic_files import appearing_folder, explaining_full_disk
from edgegd.data.contents import label_text
from edgegd.data.doctor.corrected_rows import LEFT, LEFT_IN_PIXELS, corrected_rows
from edgegd.data.doctor.finding import brief, shown
from edgegd.data.doctor.registry import Examination
from edgegd.data.doctor.survey import ImageRecord, Survey
from edgegd.data.doctor.twin_checks import same_images
from edgegd.data.image_files import require_plain_name
from edgegd.data.labels import label_path
from edgegd.data.view import show_image
from edgegd.data.yaml_set import DataYaml, list_images
from edgegd.errors import NoImagesError, OutputFileError, WouldOverwriteError
from edgegd.foreign_text import one_line
from edgegd.safe_outputs import refuse_link

YAML_NAME = "data.yaml"
CORRECTED = (
    "unreadable-images",
    "labels-without-images",
    "coordinates-outside",
    "empty-boxes",
    "boxes-over-the-border",
    "repeated-rows",
    "leaked-images",
    "repeated-images",
)
"""Checks whose findings have one right answer; all others are the owner's to decide."""


@dataclass(frozen=True)
class CorrectedCopy:
    """What was written: `rows` by what was done to them, images left out with the reason, checks left to the owner."""

    yaml_path: Path
    images: dict[str, int]
    rows: dict[str, int]
    left_out: tuple[tuple[Path, str], ...]
    left_to_you: tuple[str, ...]
    root: Path

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict; the first images that were left out, and their number."""
        return {
            "yaml": shown([self.yaml_path])[0],
            "images": self.images,
            "rows": self.rows,
            "images_left_out": len(self.left_out),
            "examples": list(shown(f"{brief(path, self.root)}: {reason}" for path, reason in self.left_out)),
            "left_to_you": list(self.left_to_you),
        }

    def sentences(self) -> list[str]:
        """The same for people, in lines."""
        rows = [f"{what.replace('_', ' ')}: {number:,}" for what, number in self.rows.items()]
        out = f"images left out: {len(self.left_out):,}" if self.left_out else ""
        return [
            f"corrected copy: {one_line(self.yaml_path)}",
            f"  {'; '.join([*rows, *([out] if out else [])]) or 'nothing to correct'}",
            *(f"  left out: {text}" for text in self.to_json()["examples"]),
            *([f"  left to you: {', '.join(self.left_to_you)}"] if self.left_to_you else []),
        ]


def require_place(folder: Path, described: DataYaml) -> None:
    """Refuses a folder for the copy that is not new, or lies inside the data set; nothing is written.

    Raises WouldOverwriteError, OutputFileError, and NoImagesError for a path that no list file can hold, or where the
    data set has no images.
    """
    refuse_link(folder)
    place = folder.absolute()
    require_plain_name(place)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise WouldOverwriteError(
            f"{folder} exists.",
            expected="a new or empty folder for the corrected copy",
            found="a folder with files in it" if folder.is_dir() else "a file",
            mend="name another folder",
        )
    for inside in sorted(_folders_of(described)):
        if place.resolve().is_relative_to(inside.resolve()):
            raise OutputFileError(
                f"{folder} lies inside the data set.",
                expected="a folder outside of it, so that no reader takes the copy's images for its own",
                found=f"images and labels are in {inside}",
                mend=f"name a folder beside it, such as {inside.parent / f'{inside.name}-corrected'}",
            )


def _folders_of(described: DataYaml) -> set[Path]:
    """The folders of the data set: those that splits name, and each that holds a folder of images and its labels."""
    entries = [entry for split in described.splits.values() for entry in split]
    found = {entry for entry in entries if entry.is_dir()}
    images = [image for split in ("train", "val") for image in list_images(split, described)]
    for parent in {image.parent for image in images}:
        labels = label_path(parent / "any.jpg").parent
        both = Path(os.path.commonpath([parent, labels]))
        found |= {parent, labels} if both == Path(both.anchor) else {both}
    return {folder for folder in found if folder.is_dir()}  # a list may name anything, even what no path can be


def write_corrected_copy(examination: Examination, folder: Path) -> CorrectedCopy:
    """Writes the corrected copy of an examined data set into `folder`, which appears only when it is complete.

    Raises as require_place does, NoImagesError where nothing would be left of a split, NoSpaceError, and
    FileAccessError where the file system has no links.
    """
    survey = examination.survey
    require_place(folder, survey.described)
    left_out = dict(_left_out(survey))
    kept = {
        split: [image for image in images if (split, image.path) not in left_out]
        for split, images in survey.splits.items()
    }
    for split, images in kept.items():
        if not images:
            raise NoImagesError(
                f"Nothing would be left of the {split} images in a corrected copy.",
                found=next(reason for (name, _), reason in left_out.items() if name == split),
                expected="images that are in no other split and can be read",
                mend="split the data set anew",
            )
    rows: Counter[str] = Counter()
    with explaining_full_disk(folder.absolute().parent), appearing_folder(folder.absolute()) as temporary:
        for split, images in kept.items():
            rows += _write_split(temporary, split, images, len(survey.described.names))
        (temporary / YAML_NAME).write_text(_yaml(survey.described, list(kept)), encoding="utf-8")
    return CorrectedCopy(
        folder / YAML_NAME,
        {split: len(images) for split, images in kept.items()},
        dict(sorted(rows.items())),
        tuple((path, reason) for (_, path), reason in left_out.items()),
        tuple(_left_to_you(examination, in_pixels=rows[LEFT_IN_PIXELS])),
        survey.root,
    )


def _left_to_you(examination: Examination, *, in_pixels: int) -> Iterator[str]:
    """The checks whose errors and warnings the copy still has."""
    for name, finding in examination.findings.items():
        is_left = name not in CORRECTED or (name == "coordinates-outside" and in_pixels)
        if name == "repeated-images":
            is_left = bool((finding.evidence or {})["with_other_boxes"])
        if is_left and finding.severity != "note":
            yield name


def _left_out(survey: Survey) -> Iterator[tuple[tuple[str, Path], str]]:
    """(split, image) of those that the copy does not have, each with the reason."""
    for image in survey.images:
        if image.problem:
            yield (image.split, image.path), image.problem
    for group in same_images(survey):
        last = survey.images[group[-1]].split  # the order is train, val, test: what is measured is kept
        first_kept: ImageRecord | None = None
        for place in group:
            image = survey.images[place]
            if image.split != last:
                yield (image.split, image.path), f"the same image is in {last}"
            elif first_kept is None:
                first_kept = image
            elif image.boxes.tobytes() == first_kept.boxes.tobytes():
                yield (image.split, image.path), f"it is {brief(first_kept.path, survey.root)}"


def _write_split(folder: Path, split: str, images: list[ImageRecord], classes: int) -> Counter[str]:
    """Links, label files and the list of a split; images of several folders get one numbered folder each."""
    parents = {parent: number for number, parent in enumerate(sorted({image.path.parent for image in images}))}
    done: Counter[str] = Counter()
    lines = []
    for image in images:
        part = f"{split}/{parents[image.path.parent]:04d}" if len(parents) > 1 else split
        place = folder / "images" / part / image.path.name
        for made in (place, label_path(place)):
            made.parent.mkdir(parents=True, exist_ok=True)
        show_image(place, image.path.absolute())
        text, corrected = _label_text(image, classes)
        done += corrected
        if text is not None:
            label_path(place).write_text(text, encoding="utf-8")
        lines.append(f"./images/{part}/{image.path.name}\n")
    (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
    return done


def _label_text(image: ImageRecord, classes: int) -> tuple[str | None, Counter[str]]:
    """The corrected text of an image's label file; None where there is none, or none that can be read."""
    try:
        text = label_text(image.path)
    except (OSError, UnicodeDecodeError):
        return None, Counter({LEFT: 1})
    return (None, Counter()) if text is None else corrected_rows(text, classes)


def _yaml(described: DataYaml, splits: list[str]) -> str:
    content: dict[str, Any] = {split: f"{split}.txt" for split in splits}
    if described.channels != 3:
        content["channels"] = described.channels
    content["names"] = dict(enumerate(described.names))
    header = (
        "# Corrected labels, written by `edgegd data doctor --fix`; images/ has links to the images.\n"
        "# Paths are relative to this file.\n"
    )
    return header + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
