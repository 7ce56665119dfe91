"""The target `local`: workers are processes of this machine, run by the Python that runs edgegd."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from edgegd.targets.process import WorkerProcess


@dataclass(frozen=True)
class LocalTarget:
    """This machine."""

    name: str = "local"

    def deliver(self, file: Path) -> str:
        """The file's own absolute path: nothing has to be copied."""
        return str(file.resolve())

    def start_worker(self, worker_file: Path) -> WorkerProcess:
        """Start `worker_file` with `sys.executable`; raises WorkerError when that fails."""
        return WorkerProcess([sys.executable, str(worker_file)])
