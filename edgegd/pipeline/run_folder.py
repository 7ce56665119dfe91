"""The folder of one run: its recipe, its artifacts, its manifests, and the lock of the process that works in it.

Everything is written under a temporary name, flushed to the disk and renamed, so that a killed process leaves either
the old artifact or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgegd.atomic_files import explaining_full_disk, write_atomically
from edgegd.errors import MissingArtifactError, RunFolderBusyError, RunFolderMismatchError
from edgegd.file_locks import lock
from edgegd.json_files import read_json
from edgegd.recipe.dump import recipe_to_yaml
from edgegd.recipe.load import load_recipe
from edgegd.recipe.schema import Recipe

IDENTITY = "run.json"
RECIPE = "recipe.yaml"
LOCK = ".lock"
TRAINING = ".float-"  # prefix of the folder in which Ultralytics trains
_TEMPORARY = re.compile(r"\..+\.\d+\.tmp")  # what write_atomically leaves when it is killed


def sha256_of(path: Path) -> str:
    """Hash of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


class RunFolder:
    """A run folder on disk; `recipe` is the run's recipe. Open it with `create` or `open_existing`."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        self.path, self.recipe = path, recipe

    @classmethod
    def create(cls, path: Path, recipe: Recipe, name: str) -> RunFolder:
        """Makes the folder, or takes up an existing one of the same recipe; its recipe.yaml becomes `recipe`.

        `name` identifies the recipe (its path below the recipes folder, or its file's path). Raises
        RunFolderMismatchError for a folder of another recipe, or one with files but no run.
        """
        if (path / IDENTITY).exists():
            owner = cls(path, recipe).owner()
            if owner != name:
                raise RunFolderMismatchError(
                    f"{path} is the run folder of another recipe.", expected=name, found=owner,
                    mend="choose another --run-dir, or delete the folder if you do not need it",
                )  # fmt: skip
        elif path.exists() and not _is_untouched(path):
            raise RunFolderMismatchError(
                f"{path} exists and is no run folder.", expected="a new or empty folder, or one that `edgegd run` made",
                mend="choose another --run-dir",
            )  # fmt: skip
        with explaining_full_disk(path):
            path.mkdir(parents=True, exist_ok=True)
        folder = cls(path, recipe)
        with folder.locked():
            # The identity first: a process killed between the two writes leaves a folder that the next one takes up.
            folder.write(IDENTITY, json.dumps({"schema": 1, "recipe": name}).encode())
            folder.write(RECIPE, recipe_to_yaml(recipe).encode())
        return folder

    @classmethod
    def open_existing(cls, path: Path) -> RunFolder:
        """The run in an existing folder; RunFolderMismatchError where there is none."""
        if not (path / IDENTITY).exists() or not (path / RECIPE).exists():
            raise RunFolderMismatchError(
                f"{path} is no run folder.", expected=f"a folder with {IDENTITY} and {RECIPE}",
                found="a folder without them" if path.is_dir() else f"{'a file' if path.exists() else 'nothing'} there",
                mend="start one with `edgegd run RECIPE --run-dir DIR`",
            )  # fmt: skip
        folder = cls(path, load_recipe(path / RECIPE))
        folder.owner()
        return folder

    def owner(self) -> str:
        """The name of the recipe whose run this is; RunFolderMismatchError where run.json is damaged."""
        try:
            return str(self.read_json(IDENTITY)["recipe"])
        except (ValueError, KeyError, TypeError) as error:
            raise RunFolderMismatchError(
                f"{self.path / IDENTITY} is damaged.", expected='{"schema": 1, "recipe": NAME}',
                found=f"{type(error).__name__}: {error}", mend="restore the file, or choose another --run-dir",
            ) from error  # fmt: skip

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder for this process; RunFolderBusyError where another one works in it.

        What a killed process left half-written is removed first: under the lock nobody else can be writing it.
        """
        with explaining_full_disk(self.path), (self.path / LOCK).open("a+") as file:
            try:
                lock(file)
            except BlockingIOError as error:
                file.seek(0)
                raise RunFolderBusyError(
                    f"Another process works in {self.path}.", found=f"process {file.read().strip() or 'unknown'}",
                    mend="wait until it ends, or choose another --run-dir",
                ) from error  # fmt: skip
            self._remove_leftovers()
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def _remove_leftovers(self) -> None:
        for entry in [*self.path.iterdir(), *self.path.glob("manifests/.*")]:
            if _TEMPORARY.fullmatch(entry.name):
                entry.unlink(missing_ok=True)
            elif entry.name.startswith(TRAINING) and entry.is_dir():
                shutil.rmtree(entry)

    def artifact(self, name: str) -> Path:
        """The path of an artifact, which need not exist."""
        return self.path / name

    def require(self, name: str, stage: str) -> Path:
        """The path of an artifact that another stage makes; MissingArtifactError where it is not there yet."""
        path = self.artifact(name)
        if not path.exists():
            raise self.missing(f"{path} does not exist yet.", stage)
        return path

    def missing(self, what: str, stage: str) -> MissingArtifactError:
        """The error for an artifact of another stage that is not there, or not as that stage left it."""
        whole_run = f"`edgegd run {self.owner()} --run-dir {self.path}` with the --set options of before"
        return MissingArtifactError(
            what, expected=f"the artifact of stage `{stage}`",
            # `edgegd data` draws and fetches data sets; that stage has no command of its own.
            mend=f"run {whole_run}" if stage == "data" else f"run `edgegd {stage} {self.path}` first, or {whole_run}",
        )  # fmt: skip

    def write(self, name: str, content: bytes) -> Path:
        """Stores an artifact atomically."""
        path = self.artifact(name)
        write_atomically(path, content)
        return path

    def write_json(self, name: str, value: Any) -> Path:
        """Stores an artifact as indented JSON."""
        return self.write(name, (json.dumps(value, indent=1) + "\n").encode())

    def read_json(self, name: str) -> Any:
        """An artifact's JSON; raises JsonProblem (a ValueError) for a file that is none."""
        return read_json(self.artifact(name))


def _is_untouched(path: Path) -> bool:
    """Whether a folder is empty but for what a process leaves that was killed while it made a run folder of it."""
    return path.is_dir() and all(entry.name == LOCK or _TEMPORARY.fullmatch(entry.name) for entry in path.iterdir())
