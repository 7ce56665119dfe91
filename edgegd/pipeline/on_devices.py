"""A training stage on several devices: by processes that are there already (torchrun), or that are started for it.

What the first of those that are started here says (progress, and the error that ended it) comes back through a
temporary folder, so that it is shown, or raised, as if the stage had run in this process.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgegd import errors
from edgegd.descent.launcher import EndedError, run_together
from edgegd.descent.ranks import Ranks, current_ranks
from edgegd.errors import EdgegdError, TrainingProcessError
from edgegd.pipeline.registry import STAGES
from edgegd.pipeline.run_folder import RunFolder
from edgegd.progress import Progress, Silent

_PROGRAM = (
    # Not by `-m`, which would look for modules in the working directory first.
    "import sys; sys.path[:] = [one for one in sys.path if one]; from edgegd.cli.training_process import main; main()"
)
_PROGRESS = "progress.jsonl"
_POLL_S = 0.2


def run_on_devices(name: str, folder: RunFolder, progress: Progress) -> None:
    """Runs a stage of STAGES that can train in parallel on as many devices as the recipe, or torchrun, asks for.

    Raises TrainingProcessError where one of its processes dies, and whatever the stage raises.
    """
    ranks = current_ranks()
    if ranks.size > 1:
        ranks.of_first(lambda: (name, str(folder.path)))  # to `follow`
        STAGES[name].load().run(folder, progress)
    elif folder.recipe.train.devices > 1:
        _launch(name, folder, folder.recipe.train.devices, progress)
    else:
        STAGES[name].load().run(folder, progress)


def follow(ranks: Ranks) -> None:
    """What the processes of torchrun do beside the first: the stages that train, with it, until it tells the end."""
    while (task := ranks.of_first(lambda: None)) is not None:  # the first sends something else
        name, path = task
        STAGES[name].load().run(RunFolder.open_existing(Path(path)), Silent())


def _launch(name: str, folder: RunFolder, devices: int, progress: Progress) -> None:
    with tempfile.TemporaryDirectory(prefix="edgegd-") as temporary:
        channel = Path(temporary)
        with _heard(channel, progress):
            try:
                arguments = (str(os.getpid()), name, str(folder.path.absolute()), temporary)
                run_together(_PROGRAM, arguments, devices, channel / "logs")
            except EndedError as error:
                told, there = _error_of(channel, error.codes, devices)
                raise told from there


class InProcessError(Exception):
    """The traceback of an error in another process, as text; `edgegd --debug` shows it."""


def _error_of(channel: Path, codes: dict[int, int], devices: int) -> tuple[EdgegdError, InProcessError | None]:
    """What ended the processes: what the first with an error of its own says; without any, one of them was killed."""
    for file in sorted(channel.glob("error-*.json")):
        said = json.loads(file.read_text(encoding="utf-8"))
        error, there = EdgegdError.__new__(getattr(errors, said.pop("kind"))), InProcessError(said.pop("traceback"))
        EdgegdError.__init__(error, said.pop("what"), **said)
        return error, there
    rank, code = min(codes.items(), key=lambda item: (item[1] >= 0, item[0]))
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    ended = TrainingProcessError(
        f"Process {rank} of the {devices} that train together {how}; the others were ended.",
        expected="all of them until the end",
        mend="run the same command again: training goes on from its checkpoint",
    )
    return ended, None


@contextlib.contextmanager
def _heard(channel: Path, progress: Progress) -> Iterator[None]:
    """In this block, what the first process reports reaches `progress`."""
    ended = threading.Event()

    def listen() -> None:
        with (channel / _PROGRESS).open("a+", encoding="utf-8") as file:
            file.seek(0)
            rest = ""
            while True:
                is_last = ended.wait(_POLL_S)
                *lines, rest = (rest + file.read()).split("\n")
                for line in lines:
                    kind, *arguments = json.loads(line)
                    getattr(progress, kind)(*arguments)
                if is_last:
                    return

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield
    finally:
        ended.set()
        listener.join()


class ToldProgress:
    """The Progress of the first process: a line of JSON in the launcher's folder for each thing that it reports."""

    def __init__(self, channel: Path) -> None:
        self._path = channel / _PROGRESS

    def update(self, done: int, total: int, text: str) -> None:
        """`done` of `total` steps of what `text` names."""
        self._tell("update", done, total, text)

    def note(self, text: str) -> None:
        """One line worth keeping on the screen."""
        self._tell("note", text)

    def _tell(self, *said: Any) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(said) + "\n")


def tell_error(channel: Path, rank: int, error: EdgegdError) -> None:
    """Leaves an error of a process for the launcher; to be called where it is handled."""
    said = {name: getattr(error, name) for name in ("what", "expected", "found", "mend")}
    said |= {"kind": type(error).__name__, "traceback": traceback.format_exc()}
    (channel / f"error-{rank}.json").write_text(json.dumps(said, default=str), encoding="utf-8")
