"""The user's home folder, which need not exist: a container's user may have none."""

from __future__ import annotations

import os
from pathlib import Path

from edgegd.errors import FileAccessError


def home(variable: str, below: str) -> Path:
    """The folder of an XDG variable (XDG_CACHE_HOME, XDG_CONFIG_HOME), by default `below` the home folder.

    Raises FileAccessError where neither is known.
    """
    given = os.environ.get(variable)
    if given:
        return Path(given)
    try:
        return Path.home() / below
    except RuntimeError as error:
        raise FileAccessError(
            "This user has no home folder.",
            expected=f"HOME or {variable} in the environment",
            found=str(error),
            mend=f"set {variable} to a folder that may be written",
        ) from error


def expanded(path: str | Path) -> Path:
    """A path with `~` and `~user` replaced; FileAccessError where there is no such home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise FileAccessError(
            f"The home folder in {path} is unknown.",
            expected="a user of this machine, with a home",
            found=str(error),
            mend="write the whole path",
        ) from error
