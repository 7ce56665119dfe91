"""The folder of one run: its recipe, its artifacts, its manifests, and the lock of the process that works in it.

Everything is written under a temporary name, flushed to the disk and renamed, so that a killed process leaves either
the old artifact or the new one.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from edgegd.atomic_files import explaining_full_disk, write_atomically
from edgegd.errors import MissingArtifactError, RunFolderBusyError, RunFolderMismatchError
from edgegd.file_locks import lock
from edgegd.json_files import json_bytes, read_json
from edgegd.pipeline.artifacts import IMAGE_PICTURES, Artifact, current_names
from edgegd.pipeline.target_profile import TargetProfile, resolve, resolved
from edgegd.recipe.dump import recipe_to_yaml
from edgegd.recipe.load import load_recipe
from edgegd.recipe.schema import AUTO_PROFILE, Recipe
from edgegd.regular_files import require_regular
from edgegd.safe_outputs import open_descriptor, refuse_link

IDENTITY = "run.json"
RECIPE = "recipe.yaml"
LOCK = ".lock"
FOLDERS = ("manifests", "view", IMAGE_PICTURES)  # in which stages and commands write
TRAINING = ".float-"  # prefix of the folder in which Ultralytics trains
_LONGEST_ID = 4096  # characters of a lock that are looked at
_TEMPORARY = re.compile(r"\..+\.\d+\.tmp")  # what write_atomically leaves when it is killed


def sha256_of(path: Path) -> str:
    """Hash of a file's bytes; OSError for what is no regular file, and may have no end."""
    require_regular(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


class RunFolder:
    """A run folder on disk; `recipe` is the run's recipe, its target profile resolved to that of `target`.

    Open it with `create` or `open_existing`.
    """

    def __init__(self, path: Path, recipe: Recipe, target: TargetProfile) -> None:
        self.path, self.recipe, self.target = path, recipe, target

    @classmethod
    def create(cls, path: Path, recipe: Recipe, name: str) -> RunFolder:
        """Makes the folder, or takes up an existing one of the same recipe; its recipe.yaml becomes `recipe`.

        `name` identifies the recipe (its path below the recipes folder, or its file's path). The target profile is
        resolved first (edgegd.pipeline.target_profile). Raises RunFolderMismatchError for a folder of another recipe,
        or one with files but no run, and the errors of `resolve`; nothing is written then.
        """
        kept = None
        if (path / IDENTITY).exists():
            identity = _read_identity(path)
            owner, kept = identity.recipe, identity.target
            if owner != name:
                raise RunFolderMismatchError(
                    f"{path} is the run folder of another recipe.",
                    expected=name,
                    found=owner,
                    mend="choose another --run-dir, or delete the folder if you do not need it",
                )
        elif path.exists() and not _is_untouched(path):
            raise RunFolderMismatchError(
                f"{path} exists and is no run folder.",
                expected="a new or empty folder, or one that `edgegd run` made",
                mend="choose another --run-dir",
            )
        target = resolve(recipe.target, kept)
        with explaining_full_disk(path):
            path.mkdir(parents=True, exist_ok=True)
        folder = cls(path, resolved(recipe, target), target)
        with folder.locked():
            # The identity first: a process killed between the two writes leaves a folder that the next one takes up.
            folder.write_json(IDENTITY, {"schema": 1, "recipe": name, "target": target.to_json()})
            folder.write(RECIPE, recipe_to_yaml(recipe).encode())
        return folder

    @classmethod
    def open_existing(cls, path: Path) -> RunFolder:
        """The run in an existing folder; RunFolderMismatchError where there is none."""
        if not (path / IDENTITY).exists() or not (path / RECIPE).exists():
            raise RunFolderMismatchError(
                f"{path} is no run folder.",
                expected=f"a folder with {IDENTITY} and {RECIPE}",
                found="a folder without them" if path.is_dir() else f"{'a file' if path.exists() else 'nothing'} there",
                mend="start one with `edgegd run RECIPE --run-dir DIR`",
            )
        recipe, target = load_recipe(path / RECIPE), _read_identity(path).target
        if target is None or recipe.target.profile not in (AUTO_PROFILE, target.profile):
            target = resolve(recipe.target)  # a folder of before the profile was kept, or an edited recipe.yaml
        return cls(path, resolved(recipe, target), target)

    def owner(self) -> str:
        """The name of the recipe whose run this is; RunFolderMismatchError where run.json is damaged."""
        return _read_identity(self.path).recipe

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder for this process; RunFolderBusyError where another one works in it.

        What a killed process left half-written is removed first: under the lock nobody else can be writing it. Raises
        OutputFileError where the lock, or a folder in which stages write, is a link, and RunFolderMismatchError where
        the lock is something else.
        """
        with explaining_full_disk(self.path), self._open_lock() as file:
            try:
                lock(file)
            except BlockingIOError as error:
                file.seek(0)
                raise RunFolderBusyError(
                    f"Another process works in {self.path}.",
                    found=f"process {file.read().strip() or 'unknown'}",
                    mend="wait until it ends, or choose another --run-dir",
                ) from error
            self._remove_leftovers()
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def _open_lock(self) -> IO[str]:
        """The lock's file, which is emptied later: never one that a link leads to, nor one that holds anything else."""
        for name in FOLDERS:
            refuse_link(self.path / name)  # now, not when a stage comes to write there
        path = self.path / LOCK
        file = os.fdopen(open_descriptor(path, os.O_RDWR | os.O_APPEND), "r+", encoding="ascii", errors="replace")
        content = file.read(_LONGEST_ID)
        if content and not content.strip().isdigit():
            file.close()
            raise RunFolderMismatchError(
                f"{path} is not the lock of a run folder.",
                expected="the number of a process",
                found=content[:80],
                mend="move the file away",
            )
        return file

    def _remove_leftovers(self) -> None:
        for entry in [*self.path.iterdir(), *self.path.glob("manifests/.*")]:
            if _TEMPORARY.fullmatch(entry.name) or (entry.name.startswith(TRAINING) and entry.is_symlink()):
                entry.unlink(missing_ok=True)
            elif entry.name.startswith(TRAINING) and entry.is_dir():
                shutil.rmtree(entry)

    def artifact(self, name: str) -> Path:
        """The path of an artifact, which need not exist."""
        return self.path / name

    def require(self, artifact: Artifact) -> Path:
        """The path of an artifact that another stage makes; MissingArtifactError where it is not there yet."""
        path = self.artifact(artifact)
        if not path.exists():
            raise self.missing(f"{path} does not exist yet.", artifact.stage)
        return path

    def missing(self, what: str, stage: str) -> MissingArtifactError:
        """The error for an artifact of another stage that is not there, or not as that stage left it."""
        whole_run = f"`edgegd run {self.owner()} --run-dir {self.path}` with the --set options of before"
        return MissingArtifactError(
            what,
            expected=f"the artifact of stage `{stage}`",
            # `edgegd data` draws and fetches data sets; that stage has no command of its own.
            mend=f"run {whole_run}" if stage == "data" else f"run `edgegd {stage} {self.path}` first, or {whole_run}",
        )

    def write(self, name: str, content: bytes) -> Path:
        """Stores an artifact atomically; OutputFileError where a folder between is a link."""
        path = self.artifact(name)
        if path.parent != self.path:
            refuse_link(path.parent)
        write_atomically(path, content)
        return path

    def write_json(self, name: str, value: Any) -> Path:
        """Stores an artifact as indented JSON."""
        return self.write(name, json_bytes(value))

    def read_json(self, name: str) -> Any:
        """An artifact's JSON; raises JsonProblem (a ValueError) for a file that is none."""
        return current_names(read_json(self.artifact(name)))


class _Identity(NamedTuple):
    """What run.json holds."""

    recipe: str
    target: TargetProfile | None


def _read_identity(path: Path) -> _Identity:
    try:
        data = read_json(path / IDENTITY)
        target = data.get("target")
        return _Identity(str(data["recipe"]), None if target is None else TargetProfile.from_json(target))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFolderMismatchError(
            f"{path / IDENTITY} is damaged.",
            expected='{"schema": 1, "recipe": NAME, "target": {...}}',
            found=f"{type(error).__name__}: {error}",
            mend="restore the file, or choose another --run-dir",
        ) from error


def _is_untouched(path: Path) -> bool:
    """Whether a folder is empty but for what a process leaves that was killed while it made a run folder of it."""
    return path.is_dir() and all(entry.name == LOCK or _TEMPORARY.fullmatch(entry.name) for entry in path.iterdir())
