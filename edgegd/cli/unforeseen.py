"""Exceptions that no stage foresaw: those of the operating system have errors of their own, the others end with 1."""

from __future__ import annotations

import errno
import re

from edgegd.errors import (
    EdgegdError,
    FileAccessError,
    MissingExtraError,
    NoSpaceError,
    OutputClosedError,
    ResourceError,
    UnexpectedError,
)

REMAINING = (
    ("A mistake in edgegd", "Every input that was found to cause one has an error of its own; nobody has tried all."),
    (
        "A fault inside torch or Ultralytics while a model computes or trains, such as a driver's on a GPU",
        "They raise RuntimeError for whatever goes wrong. What a checkpoint, a data set or a recipe can cause is "
        "refused when these are read: a model must run a picture before it is taken.",
    ),
    (
        "A fault inside onnxruntime while a session runs that was loaded",
        "A file is refused where it cannot be loaded, or has another contract; what a kernel may do later is "
        "not known.",
    ),
    (
        "A library of a version that was not tested",
        "Names inside of it may be gone. `edgegd doctor` shows which versions were tested.",
    ),
    (
        "A module of a library that is there and cannot be loaded",
        "A broken installation, or one made for another CPU; the message is the loader's.",
    ),
)
"""What exit code 1 may still mean, and why it has no error of its own (docs/errors.md)."""

_EXTRAS = {"optuna": 'pip install "edgegd[train,sweep]"', "ray": 'pip install "edgegd[train,sweep,ray]"'}
"""How to install what only some commands need, by module."""
_MEMORY = re.compile(
    r"(?i)allocate memory|not enough memory|out of memory|bad_?alloc|bad allocation"
    r"|failed to map segment|can't start new thread|DefaultCPUAllocator"
)
_LIMITS = (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN)


def documented(error: Exception) -> EdgegdError:
    """The error that an exception stands for; UnexpectedError where none is known."""
    if isinstance(error, BrokenPipeError):
        return OutputClosedError(
            "What reads the output has ended.",
            expected="a reader that takes all of it",
            found="a closed pipe",
            mend="nothing was lost but the rest of the output",
        )
    told = isinstance(error, (RuntimeError, ImportError)) and _MEMORY.search(str(error))
    if isinstance(error, MemoryError) or told:
        return _resource(f"{type(error).__name__}: {error}".splitlines()[0][:300])
    if isinstance(error, ModuleNotFoundError) and not (error.name or "edgegd").startswith("edgegd"):
        return MissingExtraError(
            f"This command needs the package {error.name}, which is not installed.",
            mend=_EXTRAS.get(
                str(error.name).partition(".")[0],
                'pip install "edgegd[train]"; for gates and baselines alone "edgegd[lab]" is enough',
            ),
        )
    if isinstance(error, OSError) and error.errno is not None:
        return _of_the_system(error)
    return UnexpectedError(
        f"Unexpected {type(error).__name__}: {error}",
        mend="run it again as `edgegd --debug ...` for the traceback; finished stages are kept",
    )


def _of_the_system(error: OSError) -> EdgegdError:
    name = "The output" if error.filename is None else str(error.filename)
    what = f"{name}: {error.strerror}."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpaceError(
            f"{name}: no space is left on its disk.",
            found=str(error.strerror),
            mend="free some space and run the same command again",
        )
    if error.errno in _LIMITS:
        return _resource(str(error))
    if error.filename is None:
        what = f"The operating system refused: {error.strerror}."
    return FileAccessError(
        what,
        expected="a file or folder that this user may read and write",
        found=type(error).__name__,
        mend="correct the path or its permissions",
    )


def _resource(found: str) -> ResourceError:
    return ResourceError(
        "This machine, or this user's limits, do not suffice.",
        found=found,
        expected="memory, open files and processes for what was asked",
        mend="close other programs, raise the limits (ulimit -a), or ask for less: a smaller train.batch, model.imgsz",
    )
