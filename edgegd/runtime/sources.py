"""What a user names to detect objects in: images, videos, folders, patterns and list files, as a flat list; or a camera.

As Ultralytics reads them (ultralytics/data/loaders.py, LoadImagesAndVideos): a folder's own images and videos, without
those of folders in it; patterns with `*`, `?` and `[...]`, `**` for folders at any depth; a list file (.txt) with one
entry a line, relative to the working directory or else to the list's folder. A number that names no file is a camera, by
OpenCV's index; so is Linux's /dev/videoN.
"""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgegd.errors import NoImagesError, UnreadableImageError
from edgegd.runtime.images import IMAGE_SUFFIXES

VIDEO_SUFFIXES = frozenset(
    {".asf", ".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"}
)
"""The files that count as videos: Ultralytics' list (ultralytics/data/utils.py, VID_FORMATS)."""
MOST_FILES = 1_000_000
LARGEST_LIST = 64 << 20  # bytes
_KINDS = "images (.jpg, .png, ...) or videos (.mp4, .avi, ...)"


@dataclass(frozen=True)
class Source:
    """An image file, a video file, or a camera, which has frames as a video and no end."""

    path: Path
    is_video: bool
    camera: int | None = None

    def __str__(self) -> str:
        return str(self.path) if self.camera is None else f"camera {self.camera}"


def find_sources(names: Sequence[str]) -> tuple[Source, ...]:
    """The files that `names` stand for, in their order; what a folder or a pattern holds is sorted. Or one camera.

    Raises:
        NoImagesError: a camera is named beside others, which would never be reached; or a folder, pattern or list file names no image or video, or more than MOST_FILES in all.
        UnreadableImageError: a file does not exist.
    """
    cameras = [camera for name in names if (camera := _camera(name)) is not None]
    if cameras and len(names) > 1:
        raise NoImagesError(
            f"{cameras[0]} has no end, so what is named beside it would never be reached.",
            expected="one camera alone, or files",
            found=f"{len(names)} sources",
            mend="run the command once for each",
        )
    if cameras:
        return (cameras[0],)
    found = tuple(itertools.islice(_all_of(names), MOST_FILES + 1))
    if len(found) > MOST_FILES:
        raise NoImagesError(
            "there are too many images.",
            expected=f"{MOST_FILES} files at most",
            found=f"more, the last of them {found[-1].path}",
            mend="name fewer files at a time",
        )
    return found


def _camera(name: str) -> Source | None:
    """The camera of an index or a device's name; None where a file has this name, and for other names."""
    found = re.fullmatch(r"(?:/dev/video)?([0-9]{1,3})", name)
    if not found or os.path.isfile(name) or os.path.isdir(name):
        return None
    return Source(Path(name), is_video=True, camera=int(found[1]))


def _all_of(names: Sequence[str]) -> Iterator[Source]:
    for name in names:
        if name.lower().endswith(".txt") and os.path.isfile(name):
            for entry, where in _entries(Path(name)):
                yield from _files_of(entry, where)
        else:
            yield from _files_of(name, "")


def _files_of(name: str, where: str) -> Iterator[Source]:
    """The files of one name; `where` says which line of which list it stands in, for an error."""
    if os.path.isdir(name):
        paths: Iterator[str] = iter(sorted(os.path.join(name, inside) for inside in os.listdir(name)))
    elif os.path.lexists(name):
        if os.path.exists(name) and not os.path.isfile(name):
            raise UnreadableImageError(
                f"{where}{name}: neither a file nor a folder",
                expected="an image or a video",
                mend="name a regular file",
            )
        yield Source(Path(name), is_video=Path(name).suffix.lower() in VIDEO_SUFFIXES)
        return
    elif glob.has_magic(name):
        paths = iter(sorted(itertools.islice(glob.iglob(name, recursive=True), MOST_FILES + 1)))
    else:
        raise UnreadableImageError(
            f"{where}{name or 'an empty name'}: no such file or folder",
            expected="an image, a video, a folder, a pattern, or a list file (.txt)",
            mend="correct the path",
        )
    is_empty = True
    for path in map(Path, paths):
        is_video = path.suffix.lower() in VIDEO_SUFFIXES
        if (is_video or path.suffix.lower() in IMAGE_SUFFIXES) and not path.name.startswith(".") and path.is_file():
            is_empty = False
            yield Source(path, is_video)
    if is_empty:
        kind = "folder" if os.path.isdir(name) else "pattern"
        raise NoImagesError(
            f"{where}the {kind} {name} holds no images.", expected=_KINDS, found="none", mend=f"correct the {kind}"
        )


def _entries(file: Path) -> Iterator[tuple[str, str]]:
    """The entries of a list file, each with the words `FILE:LINE: `."""
    try:
        size = file.stat().st_size
        if size > LARGEST_LIST:
            raise NoImagesError(
                f"the list {file} is too long.",
                expected=f"at most {LARGEST_LIST} bytes",
                found=f"{size} bytes",
                mend="split it",
            )
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise NoImagesError(
            f"the list {file} cannot be read.",
            expected="one path a line, in UTF-8",
            found=str(error),
            mend="save it as UTF-8 text",
        ) from error
    is_empty = True
    for line, row in enumerate(text.split("\n"), 1):
        entry = row.strip()
        if not entry:
            continue
        is_empty = False
        beside = str(file.parent / entry)
        known = os.path.lexists(entry) or (glob.has_magic(entry) and any(glob.iglob(entry, recursive=True)))
        yield (entry if known or os.path.isabs(entry) else beside), f"{file}:{line}: "
    if is_empty:
        raise NoImagesError(
            f"the list {file} is empty.",
            expected="one path a line",
            found="none",
            mend="write the images' paths into it",
        )
