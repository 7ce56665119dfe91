"""What an unfinished proof has done: a folder beside device-TARGET.json, from which the same command goes on."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgegd.atomic_files import explaining_full_disk, write_atomically
from edgegd.errors import RunFolderBusyError
from edgegd.file_locks import lock
from edgegd.json_files import read_json, write_json
from edgegd.safe_outputs import open_descriptor, own_folder

_IDENTITY, _LOCK, _OUTPUTS = "proof.json", "lock", "outputs"


class Unfinished:
    """The parts of a proof that are done: each a JSON file, and the outputs of each image a .npz file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    @contextmanager
    def taken_up(cls, path: Path, identity: Mapping[str, Any]) -> Iterator[Unfinished]:
        """The folder for this process alone. What a proof of another `identity` has left in it is removed.

        `identity` is everything that parts depend on. Raises RunFolderBusyError while another process proves there,
        OutputFileError where the folder is a link, NoSpaceError.
        """
        with explaining_full_disk(path.parent):
            own_folder(path)
            with os.fdopen(open_descriptor(path / _LOCK, os.O_RDWR), "r+") as file:
                try:
                    lock(file)
                except BlockingIOError as error:
                    raise RunFolderBusyError(
                        f"Another process proves the same files on the same target ({path}).",
                        expected="one proof at a time",
                        mend="wait until it ends",
                    ) from error
                if _read(path / _IDENTITY) != identity:
                    _clear(path)
                    write_json(path / _IDENTITY, dict(identity))
                yield cls(path)

    def part(self, name: str, make: Callable[[], Any]) -> Any:
        """The part's data as JSON gives it back: what an earlier process made, otherwise `make()`, which is stored."""
        file = self.path / f"{name}.json"
        if _read(file) is None:
            write_json(file, make())
        return read_json(file)

    def has_output(self, model: str, image: int) -> bool:
        """Whether a model's output for an image is there."""
        return self._output(model, image).exists()

    def store_output(self, model: str, image: int, output: np.ndarray, sha256: str) -> None:
        """Keeps a model's output for an image, and the hash of the whole output (some of it may not have come over)."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, output=output, sha256=np.array(sha256))
        file = self._output(model, image)
        own_folder(own_folder(self.path / _OUTPUTS) / model)
        write_atomically(file, buffer.getvalue())

    def output(self, model: str, image: int) -> np.ndarray:
        """The output that was kept."""
        with np.load(self._output(model, image), allow_pickle=False) as file:
            array: np.ndarray = file["output"]
        return array

    def output_sha256(self, model: str, image: int) -> str:
        """The hash of the whole output, as the device told it."""
        with np.load(self._output(model, image), allow_pickle=False) as file:
            return str(file["sha256"])

    def remove(self) -> None:
        """Removes the folder: the proof is finished."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _output(self, model: str, image: int) -> Path:
        return self.path / _OUTPUTS / model / f"{image}.npz"


def _read(path: Path) -> Any:
    """A JSON file's value; None where it is missing or damaged."""
    with contextlib.suppress(OSError, ValueError):
        return read_json(path)
    return None


def _clear(path: Path) -> None:
    for entry in path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != _LOCK:
            entry.unlink()
