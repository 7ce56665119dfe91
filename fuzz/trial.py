"""What a case is: one command on one spoiled input, what it may change, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random


@dataclass(frozen=True)
class Trial:
    """One command line on one spoiled input.

    `owns` are the paths, relative to the place, that the command may write where it succeeds, `owns_if_failed` those
    that it may leave changed where it fails; a path covers everything below it. With `may_succeed` false the input can
    never be right, so exit code 0 is a fault. Every error must hold one of the texts `names`, which are parted by |.
    `patience_s` replaces the product's deadlines for a device's answers (minutes, because small boards are slow).
    `python` replaces the Python that starts workers on this machine. With `may_make` the command line says where files
    go: a command that succeeds may make new ones anywhere. `must_make` is a file without which the case was none: a
    lie that nobody asked for.
    """

    arguments: tuple[str, ...]
    mutation: str
    owns: tuple[str, ...] = ()
    owns_if_failed: tuple[str, ...] = ()
    may_succeed: bool = True
    names: str = ""
    patience_s: float | None = None
    python: str = ""
    may_make: bool = False
    must_make: str = ""


@dataclass(frozen=True)
class Kind:
    """A kind of input: how many cases the whole run has of it, and how one is made.

    `make(random, place, number)` spoils files below `place`, the working directory of the command, and returns the
    command. It is called in a fork of its own. All that it decides it draws from `random` or takes from `number`.
    """

    name: str
    cases: int
    make: Callable[[Random, Path, int], Trial]


@dataclass(frozen=True)
class Ending:
    """How a command ended: its exit code (None: a signal, or it was ended for its time), seconds, bytes, streams.

    `peak_bytes` is the most that the process, or one that it started, had resident. `cpu_s` is its time on a CPU.
    `left_running` names processes that outlived the command.
    """

    exit_code: int | None
    signal: int
    timed_out: bool
    seconds: float
    peak_bytes: int
    cpu_s: float
    left_running: tuple[str, ...]
    out: str
    err: str


@dataclass(frozen=True)
class Result:
    """A case and its faults; none means that the product behaved."""

    case: str
    trial: Trial
    ending: Ending
    faults: tuple[str, ...]


def generator(seed: int, kind: str, number: int) -> Random:
    """The random numbers of one case: the same on every machine, whatever other cases are run."""
    return Random(f"{seed}/{kind}/{number}")
