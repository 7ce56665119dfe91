"""Trackers of experiments that take a descent's telemetry, each a module that alone imports its package.

A module NAME_tracker has `write(run, place)`, which says where it wrote, and is imported only when it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from edgegd.errors import MissingExtraError, OutputFileError

TRACKERS = ("tensorboard", "mlflow", "trackio")
"""Each has the name of its package on PyPI, and of the module that is imported."""


@dataclass(frozen=True)
class Point:
    """What is known of one step: `values` by name, at `time_s` seconds since 1970."""

    step: int
    time_s: float
    values: dict[str, float]


@dataclass(frozen=True)
class TrackedRun:
    """A run as trackers take it: a name, its settings as text by recipe key, and its points in order."""

    name: str
    points: list[Point]
    settings: dict[str, str] = field(default_factory=dict)


def require_tracker(tracker: str) -> None:
    """MissingExtraError where the tracker's package is not installed; nothing is imported."""
    if find_spec(tracker) is None:
        raise MissingExtraError(
            f"To write for {tracker}, its package must be installed.",
            expected=f"the package {tracker}",
            found="no such package in this Python",
            mend=f"pip install {tracker}",
        )


def write_run(tracker: str, run: TrackedRun, place: str | None) -> str:
    """Gives a run to a tracker and returns in words where it is; `place` is its folder or address, None its default.

    Raises MissingExtraError, and OutputFileError where the tracker does not take it.
    """
    require_tracker(tracker)
    module: Any = import_module(f"edgegd.report.trackers.{tracker}_tracker")
    try:
        return str(module.write(run, place))
    except OutputFileError:
        raise
    except Exception as error:  # of a package of others: whatever it raises
        raise OutputFileError(
            f"{tracker} did not take the telemetry.",
            expected="a place that it can write to",
            found=f"{type(error).__name__}: {str(error)[:400]}",
            mend="name another place, or correct what it says",
        ) from error
