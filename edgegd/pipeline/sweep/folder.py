"""The folder of a sweep: what was asked, its runs, the stages that they share, and the lock of whoever works in it.

request.json    what was asked; the same command goes on, another one is refused
study.sqlite3   Optuna's study (a search)
shared/         ordinary run folders of the stages that nothing which is varied touches
trials/         an ordinary run folder per trial
logs/           what each run printed
sweep.json, sweep.md, *.svg    the result so far
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from edgegd.atomic_files import appearing_folder, explaining_full_disk
from edgegd.errors import RunFolderBusyError, RunFolderMismatchError
from edgegd.file_locks import lock
from edgegd.json_files import read_json, write_json
from edgegd.pipeline.registry import STAGES, stages_of
from edgegd.pipeline.run_folder import IDENTITY, RECIPE
from edgegd.recipe.schema import Recipe
from edgegd.safe_outputs import open_to_append, own_folder, refuse_link

REQUEST, STUDY, RESULT, TEXT = "request.json", "study.sqlite3", "sweep.json", "sweep.md"
_LOCK = ".lock"
Result = TypeVar("Result")


class SweepFolder:
    """The folder of one sweep; open it with `locked`."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @contextmanager
    def locked(self, request: dict[str, Any]) -> Iterator[None]:
        """Holds the folder for this process, made for `request` where it is new.

        Raises RunFolderMismatchError where it is another sweep's or holds other files, and RunFolderBusyError where
        another process works in it. Nothing is written then.
        """
        self._require_same(request)
        with explaining_full_disk(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            with open_to_append(self.path / _LOCK) as file:
                try:
                    lock(file)
                except BlockingIOError as error:
                    raise RunFolderBusyError(
                        f"Another sweep works in {self.path}.", mend="wait until it ends, or choose another --sweep-dir"
                    ) from error
                self._require_same(request)
                write_json(self.path / REQUEST, request)
                for name in ("trials", "logs", "shared"):
                    own_folder(self.path / name)
                for left in self.path.glob("trials/.*"):  # of a process that was killed while it linked stages
                    shutil.rmtree(left)
                yield

    def _require_same(self, request: dict[str, Any]) -> None:
        file = self.path / REQUEST
        if not file.exists():
            if self.path.exists() and not (
                self.path.is_dir() and all(one.name == _LOCK for one in self.path.iterdir())
            ):
                raise RunFolderMismatchError(
                    f"{self.path} exists and is no folder of a sweep.",
                    expected="a new or empty folder, or one that `edgegd sweep` made",
                    mend="choose another --sweep-dir",
                )
            return
        with _damage_named(file):
            kept = read_json(file)
            different = sorted(key for key in {*kept, *request} if kept.get(key) != request.get(key))
        if different:
            raise RunFolderMismatchError(
                f"{self.path} is the folder of another sweep: {_listed(different)}.",
                expected=_shortened({key: request.get(key) for key in different}),
                found=_shortened({key: kept.get(key) for key in different}),
                mend="choose another --sweep-dir, or delete the folder if you do not need it",
            )

    def earlier(self, name: str, take: Callable[[Any], Result]) -> Result | None:
        """What `take` makes of a JSON file that an earlier process left, None where none did.

        Raises RunFolderMismatchError where the file is damaged.
        """
        file = self.path / name
        if not file.exists():
            return None
        with _damage_named(file):
            return take(read_json(file))

    def run_dir(self, name: str) -> Path:
        """The run folder of a trial; OutputFileError where it is a link."""
        return _no_link(self.path / "trials" / name)

    def output(self, name: str) -> Path:
        """Where the JSON of a run goes; its messages go beside it."""
        return self.path / "logs" / f"{name}.json"

    def shared(self, name: str) -> Path:
        """The run folder of shared stages; OutputFileError where it is a link."""
        return _no_link(self.path / "shared" / name)


def shared_stages(recipe: Recipe, varied: Sequence[str], until: str) -> list[str]:
    """The first stages of a run that depend on none of the recipe keys `varied`, up to `until`."""
    names = []
    for name in stages_of(recipe, until):
        sections = STAGES[name].load().sections
        if any(
            f"{key}.".startswith(f"{one}.") or f"{one}.".startswith(f"{key}.") for one in sections for key in varied
        ):
            break
        names.append(name)
    return names


def take_shared(shared: Path, stages: Sequence[str], run_dir: Path) -> None:
    """Makes a run folder with the stages of another one, their artifacts linked where the file system can; one that is
    there stays as it is. Every artifact is replaced when it is written anew, so that no run changes another's.

    Raises RunFolderMismatchError where a manifest is damaged.
    """
    if run_dir.exists():
        return
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    with appearing_folder(run_dir) as new:
        (new / "manifests").mkdir()
        for name in (IDENTITY, RECIPE):
            shutil.copyfile(shared / name, new / name)
        for stage in stages:
            manifest = f"manifests/{stage}.json"
            shutil.copyfile(shared / manifest, new / manifest)
            with _damage_named(shared / manifest):
                for artifact in read_json(shared / manifest)["outputs"]:
                    if Path(artifact).name != artifact:
                        raise ValueError(f"{artifact!r} is no name of an artifact")
                    _link(shared / artifact, new / artifact)


@contextmanager
def _damage_named(file: Path) -> Iterator[None]:
    """Within it, a file that does not hold what a sweep writes is RunFolderMismatchError."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFolderMismatchError(
            f"{file} is damaged.", found=f"{type(error).__name__}: {error}", mend="choose another --sweep-dir"
        ) from error


def _no_link(path: Path) -> Path:
    refuse_link(path)
    return path


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} not the same"


def _shortened(values: dict[str, Any]) -> str:
    text = ", ".join(f"{key} {value}" for key, value in values.items())
    return text if len(text) <= 300 else f"{text[:297]}..."
