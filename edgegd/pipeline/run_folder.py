"""The folder of one run: its recipe, its artifacts, its manifests, and the lock of the process that works in it.

Everything is written under a temporary name, flushed to the disk and renamed, so that a killed process leaves either
the old artifact or the new one.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgegd.errors import MissingArtifactError, NoSpaceError, RunFolderBusyError, RunFolderMismatchError
from edgegd.recipe.dump import recipe_to_yaml
from edgegd.recipe.load import load_recipe
from edgegd.recipe.schema import Recipe

IDENTITY = "run.json"
RECIPE = "recipe.yaml"
LOCK = ".lock"


def sha256_of(path: Path) -> str:
    """Hash of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def explaining_full_disk(where: Path) -> Iterator[None]:
    """Turns the operating system's 'no space left' into NoSpaceError."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NoSpaceError(
            f"No space is left on the disk of {where}.",
            found=str(error),
            mend="free some space and run the same command again: finished stages are kept",
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that it is either whole or as it was; NoSpaceError where the disk is full."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with explaining_full_disk(path.parent):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


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
        identity = path / IDENTITY
        if identity.exists():
            owner = json.loads(identity.read_text())["recipe"]
            if owner != name:
                raise RunFolderMismatchError(
                    f"{path} is the run folder of another recipe.", expected=name, found=owner,
                    mend="choose another --run-dir, or delete the folder if you do not need it",
                )  # fmt: skip
        elif path.exists() and (not path.is_dir() or any(entry.name != LOCK for entry in path.iterdir())):
            raise RunFolderMismatchError(
                f"{path} exists and is no run folder.", expected="a new or empty folder, or one that `edgegd run` made",
                mend="choose another --run-dir",
            )  # fmt: skip
        with explaining_full_disk(path):
            path.mkdir(parents=True, exist_ok=True)
        folder = cls(path, recipe)
        with folder.locked():
            write_atomically(path / RECIPE, recipe_to_yaml(recipe).encode())
            write_atomically(identity, json.dumps({"schema": 1, "recipe": name}).encode())
        return folder

    @classmethod
    def open_existing(cls, path: Path) -> RunFolder:
        """The run in an existing folder; RunFolderMismatchError where there is none."""
        if not (path / IDENTITY).exists() or not (path / RECIPE).exists():
            raise RunFolderMismatchError(
                f"{path} is no run folder.", expected=f"a folder with {IDENTITY} and {RECIPE}",
                mend="start one with `edgegd run RECIPE --run-dir DIR`",
            )  # fmt: skip
        return cls(path, load_recipe(path / RECIPE))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder for this process; RunFolderBusyError where another one works in it."""
        with (self.path / LOCK).open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise RunFolderBusyError(
                    f"Another process works in {self.path}.", found=f"process {file.read().strip() or 'unknown'}",
                    mend="wait until it ends, or choose another --run-dir",
                ) from error  # fmt: skip
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def artifact(self, name: str) -> Path:
        """The path of an artifact, which need not exist."""
        return self.path / name

    def require(self, name: str, stage: str) -> Path:
        """The path of an artifact that another stage makes; MissingArtifactError where it is not there yet."""
        path = self.artifact(name)
        if not path.exists():
            raise MissingArtifactError(
                f"{path} does not exist yet.", expected=f"the artifact of stage `{stage}`",
                mend=f"run `edgegd {stage} {self.path}` first, or `edgegd run`, which runs what is missing",
            )  # fmt: skip
        return path

    def write(self, name: str, content: bytes) -> Path:
        """Stores an artifact atomically."""
        path = self.artifact(name)
        write_atomically(path, content)
        return path

    def write_json(self, name: str, value: Any) -> Path:
        """Stores an artifact as indented JSON."""
        return self.write(name, (json.dumps(value, indent=1) + "\n").encode())

    def read_json(self, name: str) -> Any:
        """An artifact's JSON."""
        return json.loads(self.artifact(name).read_text())
