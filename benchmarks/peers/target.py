"""A target whose workers of other runtimes run in the peers' environment."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from edgegd.targets.base import CheckItem
from edgegd.targets.local import LocalTarget
from edgegd.targets.process import WorkerProcess
from edgegd.targets.worker_protocol import WORKER_FILE


@dataclass(frozen=True)
class PeerTarget:
    """This machine, with other runtimes in the environment of `peer_python`; onnxruntime is this program's own."""

    peer_python: str
    name: str = "local"
    emulated: bool = False

    def lock(self) -> AbstractContextManager[None]:
        """This machine's lock."""
        return LocalTarget().lock()

    def check(self) -> tuple[CheckItem, ...]:
        """What this machine has; other runtimes are looked for by their workers."""
        return LocalTarget().check()

    def close(self) -> None:
        """Nothing: there is no connection."""

    def deliver(self, file: Path) -> str:
        """The file's own absolute path."""
        return LocalTarget().deliver(file)

    def start_worker(self, worker_file: Path) -> WorkerProcess:
        """onnxruntime's worker as everywhere, any other in the peers' environment."""
        if worker_file == WORKER_FILE:
            return LocalTarget().start_worker(worker_file)
        return WorkerProcess([self.peer_python, str(worker_file)])
