"""Runs of a sweep as child processes on this machine."""

from __future__ import annotations

from edgegd.pipeline.sweep.job import Job, JobProcess, Outcome


class LocalEngine:
    """At most `jobs` runs at once."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._running: list[JobProcess] = []

    def slots(self) -> int:
        """As many as were asked for."""
        return self._jobs

    def start(self, job: Job) -> None:
        """Starts a process."""
        self._running.append(JobProcess(job))

    def ended(self) -> list[tuple[Job, Outcome]]:
        """The processes that ended."""
        outcomes = [(process, process.outcome()) for process in self._running]
        self._running = [process for process, outcome in outcomes if outcome is None]
        return [(process.job, outcome) for process, outcome in outcomes if outcome]

    def stop(self, job: Job) -> None:
        """Ends a process."""
        for process in self._running:
            if process.job == job:
                process.stop()

    def close(self) -> None:
        """Ends all processes."""
        for process in self._running:
            process.stop()
        self._running = []
