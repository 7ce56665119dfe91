"""Runs of a sweep as tasks on a Ray cluster, whose nodes share the file system of the sweep's folder.

Ray decides on which node a run runs, and says when a node was lost. The search stays Optuna's study, as without a
cluster: Ray Tune would keep a second list of trials, of which a killed driver leaves another state than the study's.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from typing import Any

from edgegd.errors import ClusterError
from edgegd.pipeline.sweep.job import Job, JobProcess, Outcome
from edgegd.progress import Progress

_CONNECT_S, _PROBE_S = 5.0, 45.0
_LOOK_S = 0.5
_MOST_LOSSES = 5
"""Of one run: then it is probably what ends the nodes, by its memory for example."""
_PROBE = "import ray, sys; ray.init(address=sys.argv[1], logging_level='ERROR', log_to_driver=False)"


def run_on_node(job: Job) -> Outcome:
    """Runs a job's process on the machine of this call, and ends it where its stop file appears."""
    process = JobProcess(job)
    try:
        while (outcome := process.outcome()) is None:
            if job.stop_file.exists():
                process.stop()
            time.sleep(_LOOK_S)
        return outcome
    finally:
        process.stop()


class RayEngine:
    """Runs that take `cpus` cores each, and a GPU with `gpu`; as many at once as the nodes have room for, or `jobs`.

    A run whose node is lost goes on on another one. Raises ClusterError where the cluster does not answer.
    """

    def __init__(self, address: str, jobs: int | None, cpus: int, gpu: bool, progress: Progress) -> None:
        self._jobs, self._cpus, self._gpu, self._progress = jobs, cpus, gpu, progress
        self._running: dict[Any, Job] = {}
        self._losses: dict[str, int] = {}
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # else Ray reports to its makers
        import ray

        _require_answer(address)
        try:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise _no_answer(address, str(error).splitlines()[0]) from error
        self._ray = ray
        self._task = ray.remote(num_cpus=cpus, num_gpus=int(gpu), max_retries=0)(run_on_node)

    def slots(self) -> int:
        """As many runs as the nodes that are there now have room for."""
        resources = self._ray.cluster_resources()
        room = int(resources.get("CPU", 0) // self._cpus)
        if self._gpu:
            room = min(room, int(resources.get("GPU", 0)))
        if room < 1:
            raise ClusterError(
                "No node of the cluster has room for a run.",
                expected=f"{self._cpus} CPU{' and a GPU' if self._gpu else ''} on one node",
                found=", ".join(
                    f"{name} {value:g}" for name, value in sorted(resources.items()) if name in ("CPU", "GPU")
                ),
                mend="give fewer --cpus, or add nodes (`ray start --address ...`)",
            )
        return min(room, self._jobs) if self._jobs else room

    def start(self, job: Job) -> None:
        """Hands a run to Ray."""
        job.stop_file.unlink(missing_ok=True)
        self._running[self._task.remote(job)] = job

    def ended(self) -> list[tuple[Job, Outcome]]:
        """The runs that ended; those whose node was lost are started again."""
        from ray.exceptions import RayError, RayTaskError

        if not self._running:
            return []
        done, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        outcomes = []
        for task in done:
            job = self._running.pop(task)
            try:
                outcomes.append((job, self._ray.get(task)))
            except RayTaskError as error:
                raise ClusterError(
                    f"A node could not start {job.name}.",
                    found=str(error).strip().splitlines()[-1],
                    expected="this version of edgegd on every node, and the sweep's folder at the same path",
                ) from error
            except RayError as error:
                self._lost(job, error)
        return outcomes

    def _lost(self, job: Job, error: Exception) -> None:
        lost = self._losses[job.name] = self._losses.get(job.name, 0) + 1
        if lost > _MOST_LOSSES:
            raise ClusterError(
                f"{lost} nodes or workers were lost while they ran {job.name}.",
                found=str(error).splitlines()[0],
                mend="see their memory, and run the same command again",
            ) from error
        self._progress.note(f"{job.name}: its node was lost ({type(error).__name__}); it goes on on another one")
        self.start(job)

    def stop(self, job: Job) -> None:
        """Asks the node to end a run."""
        job.stop_file.touch()

    def close(self) -> None:
        """Leaves the cluster, which ends this driver's tasks and with them their processes."""
        self._running = {}
        self._ray.shutdown()


def _require_answer(address: str) -> None:
    """ClusterError within a minute where nothing answers, or not as Ray does: ray.init would wait for ever."""
    if address == "local":
        return
    host, _, port = address.rpartition(":")
    if address != "auto":
        if not host or not port.isdigit():
            raise ClusterError(
                f"{address!r} is no address of a Ray cluster.",
                expected="auto, local, or HOST:PORT",
                mend="see `ray status`",
            )
        try:
            socket.create_connection((host, int(port)), _CONNECT_S).close()
        except (OSError, OverflowError) as error:
            raise _no_answer(address, str(error)) from error
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, address],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PROBE_S,
        )
    except subprocess.TimeoutExpired as error:
        raise _no_answer(address, f"no answer within {_PROBE_S:.0f} s") from error
    if done.returncode:
        raise _no_answer(address, (done.stderr.strip().splitlines() or ["nothing"])[-1])


def _no_answer(address: str, found: str) -> ClusterError:
    return ClusterError(
        f"No Ray cluster answers at {address}.",
        expected="a cluster that `ray start --head` started, of this version of Ray",
        found=found,
        mend="start it, or give its address: --address HOST:PORT (auto: the one on this machine)",
    )
