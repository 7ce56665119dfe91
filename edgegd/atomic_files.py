"""Files that are whole or as they were, and what a full disk is told like."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgegd.errors import NoSpaceError

_NEARLY_FULL_BYTES = 1 << 20


@contextmanager
def explaining_full_disk(where: Path) -> Iterator[None]:
    """Turns the operating system's 'no space left' into NoSpaceError.

    torch reports a failed write as a RuntimeError without the reason, so that one counts if the disk is full now.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError):
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        else:
            is_full = where.exists() and shutil.disk_usage(where).free < _NEARLY_FULL_BYTES
        if not is_full:
            raise
        raise NoSpaceError(
            f"No space is left on the disk of {where}.",
            found=str(error),
            mend="free some space and run the same command again: finished stages are kept",
        ) from error


@contextmanager
def replaced_atomically(path: Path) -> Iterator[Path]:
    """A temporary path to write to, which becomes `path` at the end and is removed if anything fails.

    So `path` is either whole or as it was. The temporary file is made anew: a link of its name is
    removed, not followed. Raises NoSpaceError where the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with explaining_full_disk(path.parent):
        try:
            temporary.unlink(missing_ok=True)
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file through replaced_atomically."""
    with replaced_atomically(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def appearing_folder(directory: Path) -> Iterator[Path]:
    """A temporary folder beside `directory` that becomes it if the block succeeds, and is removed otherwise.

    `directory` must be absent, or an empty folder.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp makes private folders
        os.replace(temporary, directory)  # POSIX replaces an empty folder, and refuses one that is not
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
