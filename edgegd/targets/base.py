"""What a target is: a place where a latency worker runs, reached by JSON messages with timeouts."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from edgegd.errors import EmulatedTargetError


class Worker(Protocol):
    """A running worker process, wherever it runs. Every method raises WorkerError when the worker died or hangs."""

    def send(self, message: dict[str, Any]) -> None:
        """Write one message to the worker."""

    def receive(self, timeout_s: float) -> dict[str, Any]:
        """The worker's next message; a worker silent for `timeout_s` seconds is ended."""

    def close(self) -> None:
        """End the worker and everything it started; may be called again."""


@dataclass(frozen=True)
class CheckItem:
    """One thing that a device has or lacks; `missing` ones prevent a measurement, `note`s disturb it."""

    subject: str
    found: str
    level: Literal["ok", "note", "missing"] = "ok"
    mend: str = ""


class Target(Protocol):
    """A machine (or a way to start processes) on which models are timed."""

    @property
    def name(self) -> str:
        """What reports call this target, for example `local`."""

    @property
    def emulated(self) -> bool:
        """Whether its CPU is emulated: results are then those of the real one, times are not."""

    def deliver(self, file: Path) -> str:
        """Make a file available on the target and return its path there; what is there already is not copied again."""

    def start_worker(self, worker_file: Path) -> Worker:
        """Start the worker program `worker_file` as a fresh process; raises WorkerError when it cannot be started."""

    def lock(self) -> AbstractContextManager[None]:
        """The device for this process alone; raises DeviceBusyError, which names the holder, while it is another's."""

    def check(self) -> tuple[CheckItem, ...]:
        """What is there of all that a measurement needs; raises the error of a device that cannot be reached."""

    def close(self) -> None:
        """End the connection, if the target has one; may be called again."""


def require_real(target: Target) -> None:
    """Raises EmulatedTargetError for a target whose times mean nothing."""
    if target.emulated:
        raise EmulatedTargetError(
            f"The target {target.name} is emulated: its latency is refused.",
            expected="a real device",
            found="a target that was added with --emulated",
            mend="measure on the board itself; `edgegd emulate` compares what an emulated CPU computes",
        )
