"""`edgegd sweep --recipes`: every recipe with every seed, and means, intervals and paired differences over seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgegd.accuracy.seeds import mean_of
from edgegd.atomic_files import write_atomically
from edgegd.errors import EdgegdError, RecipeError, SweepError
from edgegd.json_files import write_json
from edgegd.pipeline.sweep.folder import RESULT, TEXT, SweepFolder, take_shared
from edgegd.pipeline.sweep.job import COMMAND, Job, Outcome
from edgegd.pipeline.sweep.objectives import Objective, last_stage, parse_objectives
from edgegd.pipeline.sweep.shared import run_job, share
from edgegd.pipeline.sweep.work import Engine, work_off
from edgegd.progress import Progress
from edgegd.recipe.dump import recipe_to_yaml
from edgegd.recipe.load import load_recipe
from edgegd.recipe.ranges import parse_space
from edgegd.recipe.schema import Recipe
from edgegd.recipe.shipped import find_recipe
from edgegd.report.blocks import as_text
from edgegd.report.sweep import grid_blocks, grid_sentence

_SCHEMA = 1
SEED = "train.seed"


@dataclasses.dataclass(frozen=True)
class GridRequest:
    """What is run: `settings` (without ranges) hold for all recipes."""

    recipes: Sequence[str]
    seeds: Sequence[int]
    settings: Sequence[str]
    objectives: Sequence[str]
    command: tuple[str, ...] = COMMAND


@dataclasses.dataclass(frozen=True)
class _Row:
    """A recipe, and the name of its runs."""

    name: str
    path: Path
    recipe: Recipe


def grid(
    request: GridRequest, sweep_dir: Path | None, engine_of: Callable[[Recipe], Engine], progress: Progress
) -> tuple[Path, dict[str, Any]]:
    """Runs what is missing of the grid; returns its folder and what sweep.json holds.

    Runs that failed are tried again by the next call. Raises RecipeError, SweepError, the errors of SweepFolder.locked,
    those of the shared stages, and SweepError where every run failed.
    """
    objectives = parse_objectives(request.objectives)
    rows = _rows(request)
    identity = {
        "schema": _SCHEMA,
        "kind": "grid",
        "recipes": {row.name: recipe_to_yaml(row.recipe) for row in rows},
        "objectives": [one.name for one in objectives],
    }
    folder = SweepFolder(sweep_dir or Path("sweeps") / "-".join(row.name for row in rows))
    engine = engine_of(rows[0].recipe)
    try:
        with folder.locked(identity):
            work = _Grid(folder, request, rows, objectives, engine, progress)
            work_off(work, engine)
            return folder.path, work.result()
    finally:
        engine.close()


def _rows(request: GridRequest) -> list[_Row]:
    rows: list[_Row] = []
    for given in request.recipes:
        path = find_recipe(given)
        space = parse_space(path, request.settings)
        if space.ranges or any(one.startswith(f"{SEED}=") for one in space.fixed):
            raise RecipeError(
                "A grid of recipes takes single values.",
                found=", ".join(space.ranges) or SEED,
                mend="write ranges into recipes of their own, search one recipe without --recipes; seeds are --seeds",
            )
        if any(row.path == path for row in rows):
            raise RecipeError(f"{given} is given twice.", mend="copy it and change the copy (`edgegd recipe cp`)")
        same = sum(row.path.stem == path.stem for row in rows)
        rows.append(_Row(f"{path.stem}-{same + 1}" if same else path.stem, path, load_recipe(path, space.fixed)))
    return rows


class _Grid:
    """The work of a grid."""

    def __init__(
        self,
        folder: SweepFolder,
        request: GridRequest,
        rows: Sequence[_Row],
        objectives: Sequence[Objective],
        engine: Engine,
        progress: Progress,
    ) -> None:
        self._folder, self._rows, self._objectives, self._progress = folder, rows, objectives, progress
        self._until, settings = last_stage(objectives), list(request.settings)
        self._runs: dict[str, dict[str, Any]] = {}
        known = folder.earlier(RESULT, _finished) or {}
        jobs = []
        for row in rows:
            missing = []
            for seed in request.seeds:
                name = f"{row.name}-seed{seed}"
                entry = {"name": name, "recipe": row.name, "seed": seed, "state": "waiting", "error": ""}
                self._runs[name] = known.get(name) or entry | {"objectives": None, "seconds": None, "machine": ""}
                if name not in known:
                    missing.append((name, seed))
            if not missing:
                continue
            stages = share(
                folder, row.name, row.path, row.recipe, settings, [SEED], self._until, engine, request.command
            )
            for name, seed in missing:
                if stages:
                    take_shared(folder.shared(row.name), stages, folder.run_dir(name))
                own = [*settings, f"{SEED}={seed}"]
                job = run_job(
                    name, row.path, own, folder.run_dir(name), folder.output(name), self._until, request.command
                )
                jobs.append(job)
        self._waiting = iter(jobs)

    def next(self) -> Job | None:
        """The next run that is not finished."""
        return next(self._waiting, None)

    def is_hopeless(self, job: Job) -> bool:
        """Never: every run counts."""
        return False

    def finish(self, job: Job, outcome: Outcome) -> None:
        """Stores the run's objectives, or its error."""
        error, values = outcome.error, []
        if error is None:
            try:
                values = [one.of(job.run_dir) for one in self._objectives]
            except EdgegdError as problem:
                error = problem
        entry = self._runs[job.name]
        entry |= {"seconds": round(outcome.seconds, 1), "machine": outcome.machine}
        if error is None:
            entry |= {"state": "complete", "objectives": values, "error": ""}
            said = ", ".join(f"{one.name} {value:.5g}" for one, value in zip(self._objectives, values, strict=True))
        else:
            entry |= {"state": "fail", "error": error.message()}
            said = error.what
        self._progress.note(f"{job.name}: {said}")
        self._store()
        over = sum(one["state"] != "waiting" for one in self._runs.values())
        self._progress.update(over, len(self._runs), "runs")

    def result(self) -> dict[str, Any]:
        """What sweep.json holds; SweepError where every run failed."""
        result = self._store()
        if not any(one["state"] == "complete" for one in result["runs"]):
            raise SweepError(
                "Every run failed.",
                found=f"the first error: {result['runs'][0]['error']}",
                mend=f"see {self._folder.path / 'logs'}",
            )
        return result

    def _store(self) -> dict[str, Any]:
        runs = list(self._runs.values())
        result: dict[str, Any] = {
            "schema": _SCHEMA,
            "kind": "grid",
            "title": "Recipes over seeds",
            "objectives": [{"name": o.name, "maximize": o.maximize, "unit": o.unit} for o in self._objectives],
            "runs": runs,
            "rows": _table(runs, [row.name for row in self._rows], [one.name for one in self._objectives]),
        }
        result["sentence"] = grid_sentence(result)
        write_json(self._folder.path / RESULT, result)
        write_atomically(self._folder.path / TEXT, f"{as_text(grid_blocks(result), 'github')}\n".encode())
        return result


def _table(runs: Sequence[dict[str, Any]], recipes: Sequence[str], objectives: Sequence[str]) -> list[dict[str, Any]]:
    """A row per recipe: its means, and the means of its differences to the first recipe with the same seed."""
    values = {
        (one["recipe"], one["seed"], name): value
        for one in runs
        if one["objectives"]
        for name, value in zip(objectives, one["objectives"], strict=True)
    }
    seeds = list(dict.fromkeys(one["seed"] for one in runs))

    def mean(numbers: list[float]) -> dict[str, Any] | None:
        return dataclasses.asdict(mean_of(numbers)) if numbers else None

    rows = []
    for recipe in recipes:
        means, differences = {}, {}
        for name in objectives:
            own = {seed: values[recipe, seed, name] for seed in seeds if (recipe, seed, name) in values}
            first = {seed: values[recipes[0], seed, name] for seed in own if (recipes[0], seed, name) in values}
            means[name] = mean(list(own.values()))
            differences[name] = None if recipe == recipes[0] else mean([own[seed] - first[seed] for seed in first])
        count = sum(one["recipe"] == recipe and one["state"] == "complete" for one in runs)
        rows.append({"recipe": recipe, "seeds": count, "means": means, "differences": differences})
    return rows


def _finished(result: Any) -> dict[str, dict[str, Any]]:
    """The finished runs of an earlier process, by name."""
    return {one["name"]: one for one in result["runs"] if one["state"] == "complete"}
