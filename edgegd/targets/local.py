"""The target `local`: workers are processes of this machine, run by the Python that runs edgegd."""

from __future__ import annotations

import shlex
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from edgegd.targets.base import CheckItem
from edgegd.targets.check import examine
from edgegd.targets.lock import device_lock
from edgegd.targets.process import WorkerProcess

PACKAGES = "'onnxruntime>=1.23' numpy"


@dataclass(frozen=True)
class LocalTarget:
    """This machine."""

    name: str = "local"
    emulated: bool = False

    def deliver(self, file: Path) -> str:
        """The file's own absolute path: nothing has to be copied."""
        return str(file.resolve())

    def start_worker(self, worker_file: Path) -> WorkerProcess:
        """Start `worker_file` with `sys.executable`; raises WorkerError when that fails."""
        return WorkerProcess([sys.executable, str(worker_file)], device=f"the target {self.name}")

    def lock(self) -> AbstractContextManager[None]:
        """This machine for this process alone, beside all who measure on it from elsewhere; raises DeviceBusyError."""
        return device_lock(self)

    def check(self) -> tuple[CheckItem, ...]:
        """What is there of all that a measurement needs."""
        return examine(self, f"{shlex.quote(sys.executable)} -m pip install {PACKAGES}")

    def close(self) -> None:
        """Nothing: there is no connection."""
