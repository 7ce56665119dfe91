"""A target whose workers run onnxruntime, or OpenVINO for the files that are named for it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgegd.targets.base import CheckItem
from edgegd.targets.local import LocalTarget
from edgegd.targets.process import WorkerProcess
from edgegd.targets.worker_protocol import WORKER_FILE

OPENVINO_SUFFIX = ".openvino.onnx"
OPENVINO_WORKER = Path(__file__).with_name("openvino_worker.py")
ROOT = Path(__file__).resolve().parents[2]


def for_openvino(file: Path) -> Path:
    """A link to an ONNX file under the name by which OpenVINO runs it."""
    link = file.with_suffix(OPENVINO_SUFFIX)
    if not link.exists():
        link.symlink_to(file.name)
    return link


class PeerWorker:
    """A worker that is started by its first message, because that one says which runtime it is for."""

    def __init__(self, openvino_python: str) -> None:
        self._openvino_python = openvino_python
        self._process: WorkerProcess | None = None

    def send(self, message: dict[str, Any]) -> None:
        """As edgegd.targets.base.Worker; the first message must be `configure`."""
        if self._process is None:
            self._process = self._start(message["configure"]["model"])
        self._process.send(message)

    def receive(self, timeout_s: float) -> dict[str, Any]:
        """As edgegd.targets.base.Worker."""
        assert self._process is not None
        return self._process.receive(timeout_s)

    def close(self) -> None:
        """As edgegd.targets.base.Worker."""
        if self._process is not None:
            self._process.close()

    def _start(self, model: str) -> WorkerProcess:
        if not model.endswith(OPENVINO_SUFFIX):
            return LocalTarget().start_worker(WORKER_FILE)
        command = ["env", f"PYTHONPATH={ROOT}", self._openvino_python, str(OPENVINO_WORKER)]
        return WorkerProcess(command)


@dataclass(frozen=True)
class PeerTarget:
    """This machine, with OpenVINO in the environment of `openvino_python`."""

    openvino_python: str
    name: str = "local"
    emulated: bool = False

    def lock(self) -> AbstractContextManager[None]:
        """This machine's lock."""
        return LocalTarget().lock()

    def check(self) -> tuple[CheckItem, ...]:
        """What this machine has; OpenVINO is looked for by the first worker."""
        return LocalTarget().check()

    def close(self) -> None:
        """Nothing: there is no connection."""

    def deliver(self, file: Path) -> str:
        """The file's own absolute path; a link keeps its name, which says what runs it."""
        return str(file.absolute())

    def start_worker(self, worker_file: Path) -> PeerWorker:
        """A worker for the model that its first message names."""
        return PeerWorker(self.openvino_python)
