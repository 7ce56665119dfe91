"""The target `command:PREFIX ...`: workers are started by a command of this machine: a container, an emulator.

The prefix ends with the Python program and is followed by the worker's file. What the worker reads is copied, by hash,
into one folder that must have the same path inside: docker run -i --rm -v FOLDER:FOLDER IMAGE python3
"""

from __future__ import annotations

import hashlib
import shlex
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from edgegd.atomic_files import write_atomically
from edgegd.errors import EdgegdError, TargetUnknownError, WorkerError
from edgegd.home import expanded, home
from edgegd.targets.base import CheckItem
from edgegd.targets.check import examine
from edgegd.targets.local import PACKAGES, LocalTarget
from edgegd.targets.process import WorkerProcess

SCHEME = "command:"


@dataclass(frozen=True)
class CommandTarget:
    """A command that starts Python elsewhere than on this machine as it is."""

    name: str
    prefix: tuple[str, ...]
    folder: Path
    emulated: bool = False

    @classmethod
    def of(cls, name: str, url: str, *, emulated: bool = False, folder: str = "") -> CommandTarget:
        """The target of `command:PREFIX ...`, which is split as a shell does; raises TargetUnknownError.

        `folder` is by default ${XDG_CACHE_HOME:-~/.cache}/edgegd/targets/NAME, for a URL without a name its hash.
        """
        try:
            prefix = tuple(shlex.split(url.removeprefix(SCHEME)))
        except ValueError as error:
            raise TargetUnknownError(
                f"{url!r} is no command.", expected=f"{SCHEME}PREFIX ... PYTHON", found=str(error)
            ) from error
        if not prefix:
            raise TargetUnknownError("A command target needs a command.", expected=f"{SCHEME}PREFIX ... PYTHON")
        own = name if name != url else hashlib.sha256(url.encode()).hexdigest()[:12]
        if folder:
            return cls(name, prefix, expanded(folder).absolute(), emulated)
        return cls(name, prefix, home("XDG_CACHE_HOME", ".cache") / "edgegd" / "targets" / own, emulated)

    def deliver(self, file: Path) -> str:
        """Copies the file into the folder, named by its SHA-256, unless it is there whole; raises NoSpaceError."""
        content = file.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        copy = self.folder / (digest + file.suffix)
        if not copy.exists() or hashlib.sha256(copy.read_bytes()).hexdigest() != digest:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(copy, content)
        return str(copy)

    def start_worker(self, worker_file: Path) -> WorkerProcess:
        """Runs the prefix with the worker's file; raises WorkerError when that fails."""
        return WorkerProcess([*self.prefix, self.deliver(worker_file)], self._explain, f"the target {self.name}")

    def lock(self) -> AbstractContextManager[None]:
        """This machine, which the command runs on, for this process alone; raises DeviceBusyError."""
        return LocalTarget().lock()

    def check(self) -> tuple[CheckItem, ...]:
        """What is there of all that a measurement needs; raises WorkerError where the folder cannot be seen inside."""
        found = examine(self, f"{shlex.join(self.prefix)} -m pip install {PACKAGES} (for a container: in its image)")
        return (CheckItem("folder", f"{self.folder}, also inside"), *found)

    def close(self) -> None:
        """Nothing: there is no connection."""

    def _explain(self, code: int | None, stderr: str) -> EdgegdError | None:
        if "can't open file" not in stderr:
            return None
        return WorkerError(
            f"{self.prefix[0]} does not see the folder {self.folder}.",
            expected="the same path inside and outside",
            found=stderr[-600:],
            mend=f"share it (docker run -v {self.folder}:{self.folder} ...), or name one that is "
            "shared: edgegd target add ... --folder FOLDER",
        )
