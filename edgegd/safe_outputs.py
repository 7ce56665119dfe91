"""Where commands may write: into files that are theirs, never through a link, and known before anything is measured.

A link in a folder that came from somebody else would lead a write to any file of the user's. A wrong path after
`--junit` or `--output` would replace a model by a report. So appends refuse links, and the outputs that a user names
are checked before the work that fills them.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO

from edgegd.errors import FileAccessError, OutputFileError
from edgegd.regular_files import require_regular

_HEAD_BYTES = 4096


def is_png(head: bytes) -> bool:
    """Whether a file's first bytes are those of a PNG that edgegd drew."""
    return head.startswith(b"\x89PNG\r\n") and b"Software\0edgegd" in head


def is_junit(head: bytes) -> bool:
    """Whether a file's first bytes are those of JUnit XML that edgegd wrote."""
    return b"<testsuites" in head and b"edgegd" in head


def is_gate_markdown(head: bytes) -> bool:
    """Whether a file's first bytes are those of a gate's Markdown."""
    return head.startswith((b"## Latency gate: ", b"## Accuracy gate: "))


def open_descriptor(path: Path, flags: int) -> int:
    """A file's descriptor, made where there is none (mode 0644).

    OutputFileError where the path is a link, or no regular file: what is written into a pipe or a device is lost.
    """
    try:
        require_regular(path)
        return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno == errno.ELOOP or path.is_symlink():
            raise _link(path) from error
        if error.errno == errno.EINVAL:
            raise OutputFileError(
                f"{path} cannot be written: {error.strerror}.",
                expected="a regular file, or none",
                found=str(error.strerror),
                mend="move it away",
            ) from error
        raise


def open_to_append(path: Path) -> IO[str]:
    """A text file (UTF-8) to append to; OutputFileError where the path is a link."""
    return os.fdopen(open_descriptor(path, os.O_WRONLY | os.O_APPEND), "a", encoding="utf-8")


def require_appendable(path: Path) -> None:
    """OutputFileError where a path is a link, FileAccessError where it could not be appended to; nothing is changed."""
    refuse_link(path)
    try:
        if path.exists():
            require_regular(path)
            os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC))
        else:
            _try_to_write(path.parent)
    except OSError as error:
        raise FileAccessError(
            f"{path} cannot be written.",
            expected="a file that this user may write",
            found=str(error.strerror),
            mend="correct its rights",
        ) from error


def refuse_link(path: Path) -> None:
    """OutputFileError where the path itself is a link, even one that leads nowhere."""
    if path.is_symlink():
        raise _link(path)


def own_folder(path: Path) -> Path:
    """Makes a folder, with those above it, and returns it; OutputFileError where it is a link or a file."""
    refuse_link(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputFileError(
            f"{path} cannot be made: a file is in its place.",
            expected="a folder, or nothing there",
            found="a file",
            mend="move the file away, or name another folder",
        ) from error
    return path


def check_outputs(outputs: Mapping[str, tuple[Path | None, Callable[[bytes], bool]]], inputs: Iterable[Path]) -> None:
    """Refuses what cannot, or must not, be written later; nothing is made or changed.

    `outputs` maps an option to its path (None: not given), and to what tells from a file's first bytes whether it is an
    earlier output of the same kind, which may be replaced. Raises OutputFileError for an input, for two outputs in one,
    a link, a folder, and a file of any other kind; FileAccessError where the folder cannot be written to.
    """
    sources = [path for path in inputs if path.exists()]
    seen: dict[Path, str] = {}
    for option, (path, is_ours) in outputs.items():
        if path is None:
            continue
        refuse_link(path)
        place = path.absolute()
        if place in seen:
            raise OutputFileError(
                f"{option} and {seen[place]} name one file.",
                expected="a file for each",
                found=str(path),
                mend="name another file",
            )
        seen[place] = option
        if path.exists():
            _check_existing(option, path, is_ours, sources)
        _check_folder(option, path)


def _check_existing(option: str, path: Path, is_ours: Callable[[bytes], bool], sources: Iterable[Path]) -> None:
    if path.is_dir():
        raise OutputFileError(
            f"{option} {path} is a folder.",
            expected="the name of a file",
            found="a folder",
            mend=f"name a file in it: {path / 'NAME'}",
        )
    if any(path.samefile(source) for source in sources):
        raise OutputFileError(
            f"{option} {path} is what the command reads.",
            expected="another file than its input",
            found="the same file",
            mend="name another file; nothing was changed",
        )
    if not path.is_file():
        raise OutputFileError(
            f"{option} {path} is no regular file.",
            expected="a new file",
            found="a device or a pipe",
            mend="name another file",
        )
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head and not is_ours(head):
        raise OutputFileError(
            f"{option} {path} exists and is not what this command writes there.",
            expected="a new file, or an earlier output of this command",
            found="a file of another kind",
            mend="name another file, or remove this one; nothing was changed",
        )


def _check_folder(option: str, path: Path) -> None:
    """Whether the folder, or the nearest one above it that exists, can be written to."""
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    if not folder.is_dir():
        raise OutputFileError(
            f"{option} {path} cannot be made: {folder} is a file.",
            expected="a folder there",
            found="a file",
            mend="name another file",
        )
    try:
        _try_to_write(folder)
    except OSError as error:
        raise FileAccessError(
            f"{option} {path} cannot be written.",
            expected="a folder that this user may write to",
            found=f"{folder}: {error.strerror}",
            mend="name another file, or correct the folder's rights",
        ) from error


def _try_to_write(folder: Path) -> None:
    """Makes and removes a nameless file: rights alone say nothing of read-only file systems, nor of what root may."""
    with tempfile.TemporaryFile(dir=folder):
        pass


def _link(path: Path) -> OutputFileError:
    try:
        target = os.readlink(path)
    except OSError:
        target = "somewhere else"
    return OutputFileError(
        f"{path} is a link, and nothing is written through links.",
        found=f"a link to {target}",
        expected="a file or folder itself",
        mend="remove the link, or name the place it leads to",
    )
