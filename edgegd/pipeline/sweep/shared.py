"""Making the runs of a sweep: the stages that several runs share, once, and the command of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgegd.json_files import write_json
from edgegd.pipeline.registry import STAGES
from edgegd.pipeline.sweep.folder import SweepFolder, shared_stages
from edgegd.pipeline.sweep.job import Job
from edgegd.pipeline.sweep.work import Engine, OneRun, work_off
from edgegd.recipe.schema import Recipe
from edgegd.trust import is_trusted


def run_job(
    name: str, recipe: Path, settings: Sequence[str], run_dir: Path, output: Path, until: str, command: tuple[str, ...]
) -> Job:
    """`edgegd run` of a recipe file in a run folder."""
    options = [option for setting in settings for option in ("--set", setting)]
    trust = ["--trust"] if is_trusted() else []
    arguments = ("run", str(recipe), *options, "--run-dir", str(run_dir), "--until", until, *trust, "--json")
    return Job(name, arguments, run_dir, output, Path.cwd(), command)


def share(
    folder: SweepFolder,
    name: str,
    path: Path,
    recipe: Recipe,
    settings: Sequence[str],
    varied: Sequence[str],
    until: str,
    engine: Engine,
    command: tuple[str, ...],
) -> list[str]:
    """Runs the stages that do not depend on the keys `varied`, unless an earlier process did; returns their names.

    They are in the run folder `folder.shared(name)`. Raises the error of the run.
    """
    run_dir, done = folder.shared(name), f"shared/{name}.json"
    known = folder.earlier(done, lambda stages: [STAGES[stage].name for stage in stages])
    if known is not None:
        return known
    stages = shared_stages(recipe, varied, until)
    if stages:
        output = folder.output(f"shared-{name}")
        work_off(OneRun(run_job("the shared stages", path, settings, run_dir, output, stages[-1], command)), engine)
    write_json(folder.path / done, stages)
    return stages
