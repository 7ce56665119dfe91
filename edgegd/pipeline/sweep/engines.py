"""The engines of a sweep by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgegd.errors import SweepError
from edgegd.pipeline.sweep.local import LocalEngine
from edgegd.pipeline.sweep.objectives import parse_objectives
from edgegd.pipeline.sweep.work import Engine
from edgegd.progress import Progress
from edgegd.recipe.schema import LOCAL_HOST, Recipe

LOCAL, RAY = "local", "ray"


def engine_maker(
    name: str, address: str, jobs: int | None, cpus: int, objectives: Sequence[str], progress: Progress
) -> Callable[[Recipe], Engine]:
    """What makes the engine for a recipe: `local`, or `ray` at an address with `cpus` cores a run.

    It raises SweepError where latency would be measured on machines that other runs use, or on several, ClusterError
    where no cluster answers, and ModuleNotFoundError without Ray. Here SweepError is raised for unknown objectives.
    """
    wanted = [one.name for one in parse_objectives(objectives) if one.name.startswith("latency.")]

    def make(recipe: Recipe) -> Engine:
        if wanted and recipe.target.host == LOCAL_HOST and (name == RAY or (jobs or 1) > 1):
            raise SweepError(
                f"{wanted[0]} cannot be compared: runs at the same time, or on other machines, have other latencies.",
                expected="--engine local with --jobs 1, or a target that is another machine (target.host)",
                mend="leave the objective out and measure the best trials afterwards (`edgegd latency RUN_DIR`)",
            )
        if name == LOCAL:
            return LocalEngine(jobs or 1)
        from edgegd.pipeline.sweep.cluster import RayEngine

        return RayEngine(address, jobs, cpus, recipe.train.device.startswith("cuda"), progress)

    return make
