"""The image files of a folder or a list file, each once, and nothing that a later reader would read otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from edgegd.bounded_read import read_bounded
from edgegd.errors import NoImagesError
from edgegd.foreign_text import one_line
from edgegd.limits import FOLDER_DEPTH, IMAGE_FILES, LIST_BYTES
from edgegd.runtime.images import IMAGE_SUFFIXES

RUN_FILES = ("run.json", "recipe.yaml")  # what edgegd.pipeline.run_folder leaves in a run folder
_MANY_FOLDERS = IMAGE_FILES // 10
_ENDS = frozenset("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")  # what str.splitlines takes for the end of a line


def is_image(path: Path) -> bool:
    """Whether a file counts as an image by its name; hidden ones do not."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def images_below(folder: Path) -> list[Path]:
    """The images in a folder and in those below it, links followed, in no order.

    Hidden folders are passed over, as Ultralytics does, and so are run folders of edgegd, whose pictures are copies.
    Raises NoImagesError for a link that leads back into a folder which it lies in, and for too many files.
    """
    found: list[Path] = []
    for count, (place, files) in enumerate(walk(folder)):
        found += [image for image in (Path(place, name) for name in files) if is_image(image)]
        if len(found) > IMAGE_FILES or count > _MANY_FOLDERS:
            raise NoImagesError(
                f"{folder} holds too many files",
                found=f"more than {len(found)} in {count} folders",
                expected=f"at most {IMAGE_FILES:,} images in {_MANY_FOLDERS:,} folders",
                mend="look for links that lead to the same folders again and again",
            )
    for image in found:
        require_plain_name(image)
    return found


def walk(folder: Path, parents: tuple[tuple[int, int], ...] = ()) -> Iterator[tuple[Path, list[str]]]:
    """Every folder from `folder` on with the names of its files, without hidden folders and run folders.

    Links are followed; `parents` are the (device, inode) of the folders around it. Raises NoImagesError for links in a
    circle.
    """
    stat = os.stat(folder)
    own = (stat.st_dev, stat.st_ino)
    if own in parents or len(parents) > FOLDER_DEPTH:
        raise NoImagesError(
            f"the links in {folder.parent} lead in a circle" if own in parents else f"{folder} lies too deep",
            found=str(folder),
            expected=f"folders at most {FOLDER_DEPTH} deep, none inside itself",
            mend="remove the link, or name the folders that hold the images",
        )
    with os.scandir(folder) as entries:
        inside = sorted(entries, key=lambda entry: entry.name)
    folders = [entry for entry in inside if entry.is_dir()]
    files = [entry.name for entry in inside if not entry.is_dir()]
    if parents and set(RUN_FILES) <= set(files):
        return
    yield folder, files
    for entry in folders:
        if not entry.name.startswith("."):
            yield from walk(Path(entry.path), (*parents, own))


def read_list(file: Path) -> list[Path]:
    """The images that a list file names, one a line: `./` and unknown relative paths are relative to its folder.

    Raises NoImagesError, which names the file, where it is too long, not UTF-8, or names an image twice.
    """
    content = read_bounded(file, LIST_BYTES)
    if content is None:
        raise NoImagesError(
            f"the list {file} is too long",
            expected=f"at most {LIST_BYTES >> 20} MiB",
            mend="split it: train and val may be lists of files",
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        kind = "UTF-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else f"the byte {content[error.start]:#04x}"
        raise NoImagesError(
            f"the list {file} is not in UTF-8",
            expected="one path a line, in UTF-8",
            found=f"{kind} at byte {0 if kind == 'UTF-16' else error.start}",
            mend="save it again as UTF-8",
        ) from error
    images: dict[Path, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            image = Path(os.path.normpath(_beside(file, line.strip())))
            if image in images:
                raise NoImagesError(
                    f"{file}:{number}: {one_line(image)} is listed twice",
                    expected="every image once",
                    found=f"first in line {images[image]}",
                    mend="remove one of the lines",
                )
            images[image] = number
    return list(images)


def _beside(file: Path, text: str) -> Path:
    image = Path(text)
    is_beside = text.startswith("./") or (not image.is_absolute() and not image.exists())
    return (file.parent / image if is_beside else image).absolute()


def require_plain_name(image: Path) -> None:
    """NoImagesError for a path that a list file cannot hold: with the end of a line in it, or not in UTF-8."""
    text = str(image)
    wrong = ""
    if not _ENDS.isdisjoint(text):
        wrong = "a line break in it"
    elif text != text.strip():
        wrong = "a blank at its end"
    elif any("\ud800" <= char <= "\udfff" for char in text):
        wrong = "bytes that are no UTF-8"
    if wrong:
        raise NoImagesError(
            f"a path cannot be written into a list: {one_line(text)}",
            found=wrong,
            expected="a name of one line in UTF-8",
            mend="rename the file or the folder",
        )
