"""`edgegd sweep RECIPE`: ranges of recipe keys searched for the best objectives, and what was found."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from edgegd.atomic_files import write_atomically
from edgegd.errors import RecipeError, SweepError
from edgegd.json_files import write_json
from edgegd.pipeline.sweep.folder import RESULT, TEXT, SweepFolder, take_shared
from edgegd.pipeline.sweep.job import COMMAND, Job
from edgegd.pipeline.sweep.objectives import Objective, last_stage, parse_objectives
from edgegd.pipeline.sweep.shared import run_job, share
from edgegd.pipeline.sweep.study import ERROR, MACHINE, SAME_AS, SECONDS, Point, Search
from edgegd.pipeline.sweep.work import Engine, work_off
from edgegd.progress import Progress
from edgegd.recipe.dump import recipe_to_yaml
from edgegd.recipe.load import load_recipe
from edgegd.recipe.ranges import GRAMMAR, Space, override, own_point, parse_space
from edgegd.recipe.schema import Recipe
from edgegd.recipe.shipped import find_recipe, recipe_name
from edgegd.report.blocks import as_text
from edgegd.report.sweep import search_blocks, search_sentence

_SCHEMA = 1
PICTURE = "sweep.svg"


@dataclasses.dataclass(frozen=True)
class SearchRequest:
    """What is searched: `settings` and `objectives` as on the command line; `prunes` None: where it is possible."""

    recipe: str
    settings: Sequence[str]
    objectives: Sequence[str]
    trials: int
    seed: int = 0
    prunes: bool | None = None
    command: tuple[str, ...] = COMMAND


@dataclasses.dataclass(frozen=True)
class _Checked:
    """A request whose recipe, ranges and objectives exist."""

    path: Path
    name: str
    recipe: Recipe
    space: Space
    objectives: tuple[Objective, ...]
    prunes: bool


def search(
    request: SearchRequest, sweep_dir: Path | None, engine_of: Callable[[Recipe], Engine], progress: Progress
) -> tuple[Path, dict[str, Any]]:
    """Searches, or goes on with a search; returns its folder and what sweep.json holds.

    `engine_of` makes the engine for a recipe, after everything else of the request was looked at. Without `sweep_dir`
    the folder is sweeps/RECIPE. Raises RecipeError, SweepError, the errors of SweepFolder.locked, those of the shared
    stages, and SweepError where no trial succeeded.
    """
    checked = _check(request)
    folder = SweepFolder(sweep_dir or Path("sweeps") / _folder_name(checked.name))
    engine = engine_of(checked.recipe)
    try:
        with folder.locked(_identity(request, checked)):
            return folder.path, _search(request, checked, folder, engine, progress)
    finally:
        engine.close()


def _folder_name(recipe: str) -> str:
    """The name of a shipped recipe, or of a file of the user's."""
    return Path(recipe).stem if Path(recipe).is_absolute() else recipe.replace("/", "-")


def _check(request: SearchRequest) -> _Checked:
    path = find_recipe(request.recipe)
    objectives = parse_objectives(request.objectives)
    space = parse_space(path, request.settings)
    if not space.ranges:
        raise RecipeError(
            "Nothing is varied: no --set has a range.",
            expected=GRAMMAR,
            mend="one run is `edgegd run`, a grid --recipes",
        )
    possible = len(objectives) == 1 and objectives[0].by_epoch
    if request.prunes and not possible:
        raise SweepError(
            "Trials cannot be ended early here.",
            expected="one objective, of the QAT model's mAP: Optuna prunes no search for several objectives, and the "
            "mAP of an epoch foretells nothing else",
            found=", ".join(one.name for one in objectives),
            mend="leave --prune out, or give one objective",
        )
    prunes = possible if request.prunes is None else request.prunes
    return _Checked(path, recipe_name(path), load_recipe(path, space.fixed), space, objectives, prunes)


def _identity(request: SearchRequest, checked: _Checked) -> dict[str, Any]:
    """What makes a sweep another one: everything but the number of trials and where they run."""
    return {
        "schema": _SCHEMA,
        "kind": "search",
        "recipe": checked.name,
        "values": recipe_to_yaml(checked.recipe),
        "ranges": _ranges(checked),
        "objectives": [one.name for one in checked.objectives],
        "seed": request.seed,
        "prunes": checked.prunes,
    }


def _search(
    request: SearchRequest, checked: _Checked, folder: SweepFolder, engine: Engine, progress: Progress
) -> dict[str, Any]:
    until, varied = last_stage(checked.objectives), list(checked.space.ranges)
    stages = share(
        folder, "recipe", checked.path, checked.recipe, checked.space.fixed, varied, until, engine, request.command
    )

    own = own_point(checked.path, checked.space)

    def job_of(number: int, point: Point) -> Job:
        name = f"{number:04d}"
        if stages:
            take_shared(folder.shared("recipe"), stages, folder.run_dir(name))
        settings = [*checked.space.fixed, *(override(key, value) for key, value in point.items())]
        return run_job(
            f"trial {number}", checked.path, settings, folder.run_dir(name), folder.output(name), until, request.command
        )

    def on_end(trial: FrozenTrial) -> None:
        result = store()
        progress.note(_line(trial, checked.objectives))
        progress.update(sum(one["state"] != "running" for one in result["trials"]), work.trials, "trials")

    def store() -> dict[str, Any]:
        result = _result(checked, work, own)
        write_json(folder.path / RESULT, result)
        write_atomically(folder.path / TEXT, f"{as_text(search_blocks(result), 'github')}\n".encode())
        return result

    work = Search(
        folder,
        checked.space,
        checked.objectives,
        trials=request.trials,
        seed=request.seed,
        prunes=checked.prunes,
        own=own,
        job_of=job_of,
        on_end=on_end,
    )
    if work.trials < request.trials:
        progress.note(f"the ranges have {work.trials} points: each is tried once")
    work_off(work, engine)
    result = store()
    if not any(one["state"] == "complete" for one in result["trials"]):
        errors = [one["error"] for one in result["trials"] if one["error"]]
        raise SweepError(
            f"No trial succeeded of {len(result['trials'])}.",
            found=f"the first error: {errors[0]}" if errors else "no error",
            mend=f"see {folder.path / 'logs'}; the same command tries further points",
        )
    from edgegd.report.sweep_picture import search_picture

    write_atomically(folder.path / PICTURE, search_picture(result))
    return result


def _result(checked: _Checked, work: Search, own: Point | None) -> dict[str, Any]:
    trials = [_entry(one) for one in work.study.get_trials(deepcopy=False) if one.state is not TrialState.WAITING]
    complete = any(one["state"] == "complete" for one in trials)
    result: dict[str, Any] = {
        "schema": _SCHEMA,
        "kind": "search",
        "title": "Sweep",
        "recipe": checked.name,
        "asked": work.trials,
        "ranges": _ranges(checked),
        "fixed": list(checked.space.fixed),
        "objectives": [{"name": o.name, "maximize": o.maximize, "unit": o.unit} for o in checked.objectives],
        "prunes": checked.prunes,
        "trials": trials,
        "best": sorted(one.number for one in work.study.best_trials) if complete else [],
        "own": next((one["number"] for one in trials if one["values"] == own and one["same_as"] is None), None),
    }
    return result | {"sentence": search_sentence(result)}


def _ranges(checked: _Checked) -> dict[str, Any]:
    """The ranges as JSON has them."""
    return {
        key: {
            name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(one).items()
        }
        for key, one in checked.space.ranges.items()
    }


def _entry(trial: FrozenTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "values": dict(trial.params),
        "objectives": trial.values if trial.state is TrialState.COMPLETE else None,
        "by_epoch": {str(epoch): value for epoch, value in sorted(trial.intermediate_values.items())},
        "seconds": trial.user_attrs.get(SECONDS),
        "machine": trial.user_attrs.get(MACHINE, ""),
        "same_as": trial.user_attrs.get(SAME_AS),
        "error": trial.user_attrs.get(ERROR, ""),
    }


def _line(trial: FrozenTrial, objectives: Sequence[Objective]) -> str:
    """One line of a trial that ended."""
    if trial.state is TrialState.COMPLETE:
        said = ", ".join(f"{o.name} {value:.5g}" for o, value in zip(objectives, trial.values, strict=True))
    elif trial.state is TrialState.PRUNED:
        said = "ended early"
    else:
        said = trial.user_attrs[ERROR].splitlines()[0]
    at = ", ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in trial.params.items()
    )
    return f"trial {trial.number} ({at}): {said}"
