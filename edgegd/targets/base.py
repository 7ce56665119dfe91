"""What a target is: a place where a latency worker runs, reached by JSON messages with timeouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol


class Worker(Protocol):
    """A running worker process, wherever it runs. Every method raises WorkerError when the worker died or hangs."""

    def send(self, message: dict[str, Any]) -> None:
        """Write one message to the worker."""

    def receive(self, timeout_s: float) -> dict[str, Any]:
        """The worker's next message; a worker silent for `timeout_s` seconds is ended."""

    def close(self) -> None:
        """End the worker and everything it started; may be called again."""


class Target(Protocol):
    """A machine (or a way to start processes) on which models are timed."""

    @property
    def name(self) -> str:
        """What reports call this target, for example `local`."""

    def deliver(self, file: Path) -> str:
        """Make a file available on the target and return its path there."""

    def start_worker(self, worker_file: Path) -> Worker:
        """Start the worker program `worker_file` as a fresh process; raises WorkerError when it cannot be started."""
