"""Only regular files are read: a pipe may never give a byte, and /dev/zero never ends."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def require_regular(path: Path) -> None:
    """Raises OSError, before anything is opened, for a path that leads to a pipe, a socket or a device.

    A file that is missing, and a folder, are left to whoever opens them.
    """
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except (OSError, ValueError):
        return
    if kind in _KINDS:
        raise OSError(errno.EINVAL, f"it is no regular file but {_KINDS[kind]}", str(path))
