"""The same measurement on several targets at once; a target that fails does not take the others along."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from edgegd.errors import EdgegdError, InterruptedRunError
from edgegd.targets.base import CheckItem, Target, Worker

T = TypeVar("T")


def on_each(targets: Sequence[Target], work: Callable[[Target], T]) -> dict[str, T | EdgegdError]:
    """`work(target)` for every target at the same time: name -> its result, or the error that ended it.

    An interrupt (Ctrl-C) ends every worker on every target before it goes on to the caller. Any other exception than
    EdgegdError is raised, after all targets have ended.
    """
    stoppable = [StoppableTarget(target) for target in targets]
    with ThreadPoolExecutor(max_workers=len(targets)) as pool:
        try:  # an interrupt may come before all have been started
            futures = {target.name: pool.submit(work, target) for target in stoppable}
            wait(futures.values())
        except BaseException:
            for target in stoppable:
                target.stop()
            raise
    results: dict[str, T | EdgegdError] = {}
    for name, future in futures.items():
        error = future.exception()
        if error is None:
            results[name] = future.result()
        elif isinstance(error, EdgegdError):
            results[name] = error
        else:
            raise error
    return results


class StoppableTarget:
    """A target whose workers another thread can end; after that it starts no more."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._workers: list[Worker] = []
        self._stopped = False
        self._guard = threading.Lock()

    @property
    def name(self) -> str:
        """As of the target."""
        return self._target.name

    @property
    def emulated(self) -> bool:
        """As of the target."""
        return self._target.emulated

    def deliver(self, file: Path) -> str:
        """As of the target."""
        return self._target.deliver(file)

    def lock(self) -> AbstractContextManager[None]:
        """As of the target."""
        return self._target.lock()

    def start_worker(self, worker_file: Path) -> Worker:
        """As of the target; InterruptedRunError after `stop`."""
        with self._guard:
            if self._stopped:
                raise InterruptedRunError("Interrupted.")
            self._workers.append(self._target.start_worker(worker_file))
            return self._workers[-1]

    def check(self) -> tuple[CheckItem, ...]:
        """As of the target."""
        return self._target.check()

    def close(self) -> None:
        """As of the target."""
        self._target.close()

    def stop(self) -> None:
        """Ends every worker and the connection, whatever they are doing: who waits for them gets a WorkerError."""
        with self._guard:
            self._stopped = True
            for worker in self._workers:
                worker.close()
            self._target.close()
