"""Advisory locks on files, where the file system has them."""

from __future__ import annotations

import errno
import fcntl
from typing import IO, Any

from edgegd.errors import FileAccessError


def lock(file: IO[Any], *, wait: bool = False) -> None:
    """Takes the exclusive lock of an open file, which ends with the file.

    Raises BlockingIOError where another process holds it and `wait` is False, and FileAccessError on a file system
    without locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF):
            raise
        raise FileAccessError(
            f"The file system of {file.name} has no locks.",
            expected="flock(2), so that no two processes write there",
            found=str(error),
            mend="choose a folder on a local file system",
        ) from error
