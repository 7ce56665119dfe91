"""Working off the runs of a sweep: which run is next is the work's question, where it runs the engine's."""

from __future__ import annotations

import time
from typing import Protocol

from edgegd.errors import InterruptedRunError
from edgegd.pipeline.sweep.job import Job, Outcome

_LOOK_S = 0.2
_WATCH_S = 1.0


class Engine(Protocol):
    """Where runs run."""

    def slots(self) -> int:
        """How many runs may run at once, now."""

    def start(self, job: Job) -> None:
        """Starts a run."""

    def ended(self) -> list[tuple[Job, Outcome]]:
        """The runs that ended since this was asked last."""

    def stop(self, job: Job) -> None:
        """Ends a run, which `ended` then names."""

    def close(self) -> None:
        """Ends all runs and lets go of what the engine holds."""


class Work(Protocol):
    """What is to be run."""

    def next(self) -> Job | None:
        """The next run to start; None where nothing is left."""

    def is_hopeless(self, job: Job) -> bool:
        """Whether a run that is under way is to be ended early."""

    def finish(self, job: Job, outcome: Outcome) -> None:
        """Takes the outcome of a run."""


def work_off(work: Work, engine: Engine) -> None:
    """Starts runs as long as there are any, and takes their outcomes. Raises InterruptedRunError on Ctrl-C."""
    running: list[Job] = []
    stopped: list[Job] = []
    watched = time.monotonic()
    try:
        while True:
            while len(running) < engine.slots() and (job := work.next()):
                engine.start(job)
                running.append(job)
            if not running:
                return
            time.sleep(_LOOK_S)
            for job, outcome in engine.ended():
                running.remove(job)
                work.finish(job, outcome)
            if time.monotonic() - watched >= _WATCH_S:
                watched = time.monotonic()
                for job in running:
                    if job not in stopped and work.is_hopeless(job):
                        engine.stop(job)
                        stopped.append(job)
    except KeyboardInterrupt as interrupt:
        raise InterruptedRunError(
            "The sweep was interrupted.",
            mend="run the same command again: finished runs count, those under way go on from their checkpoints",
        ) from interrupt


class OneRun:
    """The work of one run alone, whose error is raised."""

    def __init__(self, job: Job) -> None:
        self._job: Job | None = job

    def next(self) -> Job | None:
        """The run, once."""
        job, self._job = self._job, None
        return job

    def is_hopeless(self, job: Job) -> bool:
        """Never."""
        return False

    def finish(self, job: Job, outcome: Outcome) -> None:
        """Raises the run's error."""
        if outcome.error:
            raise outcome.error
