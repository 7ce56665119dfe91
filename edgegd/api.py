"""Running a recipe from Python, as `edgegd run` does from the shell: `edgegd.run_recipe` and `edgegd.open_run`.

    import edgegd

    result = edgegd.run_recipe("streets/yolo26n", run_dir="runs/demo", set={"train.epochs": 1})
    print(result.table(), result.ship.why, result.model)

`import edgegd` does not import this module, and this module imports neither torch nor Ultralytics until a recipe runs.
docs/api.md describes it for users.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import yaml

from edgegd.errors import RecipeError
from edgegd.pipeline.artifacts import EDGE, PORTABLE, REPORT, as_made
from edgegd.recipe.build import dotted_keys
from edgegd.recipe.schema import Recipe

if TYPE_CHECKING:
    from edgegd.pipeline.run_folder import RunFolder

Variant = Literal["fp32", "ptq", "qat"]


@dataclass(frozen=True)
class Ship:
    """Which model to ship, `ptq` or `qat`, and why (edgegd.report.ship has the rule).

    `difference` is QAT's mAP50-95 minus PTQ's in 0..1, `interval` its (low, high), and `reason` one of `qat_better`,
    `not_shown`, `ptq_better`, `few_images` and `calibrated`.
    """

    model: Literal["ptq", "qat"]
    reason: str
    why: str
    difference: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class RunResult:
    """What a run left: its folder, stage -> `ran` or `unchanged`, the report, and which model to ship.

    `report` is report.json (docs/results.md shows such numbers) and `ship` its verdict; both are None where the run
    ended before the stage `report`. A notebook shows the result as its table.
    """

    run_dir: Path
    stages: Mapping[str, str]
    report: Mapping[str, Any] | None
    ship: Ship | None

    def file(self, variant: Variant, *, edge: bool = False) -> Path:
        """The ONNX file of a variant: the portable one, or with `edge` the one for onnxruntime on the device.

        Raises KeyError for a variant that does not exist (there is no edge file of `fp32`).
        """
        return self.run_dir / (EDGE if edge else PORTABLE)[variant]

    @property
    def model(self) -> Path | None:
        """The edge file of the model to ship; None where there is no verdict yet."""
        return None if self.ship is None else self.file(self.ship.model, edge=True)

    def table(self) -> str:
        """FP32, PTQ and QAT side by side, as `edgegd run` prints them; the stages where there is no report yet."""
        return self._table("simple")

    def _repr_markdown_(self) -> str:
        if self.ship is None:
            return f"```\n{self.table()}\n```"
        return f"{self._table('github')}\n\n{self.ship.why}"

    def _table(self, form: str) -> str:
        if self.report is None:
            return "\n".join(f"{name}: {what}" for name, what in self.stages.items())
        from edgegd.report.markdown import summary_table

        return summary_table(dict(self.report), form)


def run_recipe(
    recipe: str | Path,
    run_dir: str | Path | None = None,
    set: Mapping[str, Any] | None = None,
    *,
    until: str = "report",
    progress: bool = True,
) -> RunResult:
    """Runs a recipe (a file, or a shipped name such as `bccd/yolo26n`) and returns what it left.

    `run_dir` is where the run's files go (default: runs/RECIPE). `set` overrides keys of the recipe, as
    `{"train.epochs": 3}` or `{"train": {"epochs": 3}}`. `until` is the last stage. With `progress`, a line for every
    stage goes to stderr. Stages whose inputs have not changed are skipped, so that a run that was interrupted goes on
    with the same call.

    Raises subclasses of edgegd.errors.EdgegdError: RecipeNotFoundError, RecipeError (all mistakes at once),
    MissingExtraError where `edgegd[train]` is not installed, InterruptedRunError on Ctrl-C, and those of the stages.
    """
    overrides = _overrides(set or {})
    os.environ.setdefault("YOLO_VERBOSE", "false")  # as the command does: Ultralytics reads it when it is imported
    with _missing_extras_named(), _progress(progress) as shown:
        from edgegd.pipeline.registry import STAGES
        from edgegd.pipeline.whole_run import run_recipe_file

        if until not in STAGES:
            raise ValueError(f"until={until!r}: expected one of {', '.join(STAGES)}")
        folder, outcome = run_recipe_file(recipe, overrides, None if run_dir is None else Path(run_dir), until, shown)
        return _result(folder, outcome)


def open_run(run_dir: str | Path) -> RunResult:
    """The result of a run that is there already; nothing is run.

    `stages` is empty. Raises RunFolderMismatchError where `run_dir` is no run folder, and MissingArtifactError where
    its report is damaged.
    """
    with _missing_extras_named():
        from edgegd.pipeline.run_folder import RunFolder

        return _result(RunFolder.open_existing(Path(run_dir)), {})


def _result(folder: RunFolder, outcome: dict[str, str]) -> RunResult:
    if "report" not in outcome and (outcome or not folder.artifact(REPORT).exists()):
        return RunResult(folder.path, outcome, None, None)
    with as_made(folder, REPORT):
        report = folder.read_json(REPORT)
        said = report["ship"]
        low, high = said["interval"]
        ship = Ship(said["model"], said["reason"], said["why"], said["difference"], (low, high))
    return RunResult(folder.path, outcome, report, ship)


def _overrides(values: Mapping[str, Any]) -> list[str]:
    """`section.key=value` of every value, as `--set` takes them; a mapping under a section's name is its keys."""
    sections = {key[:place] for key in dotted_keys(Recipe) for place, letter in enumerate(key) if letter == "."}
    return [f"{key}={_yaml_of(key, value)}" for key, value in _flat(values, sections)]


def _flat(values: Mapping[str, Any], sections: set[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and key in sections:
            yield from _flat(value, sections, f"{key}.")
        else:
            yield key, value


def _yaml_of(key: str, value: Any) -> str:
    try:
        text = yaml.safe_dump(_plain(value), default_flow_style=True, width=10**9)
    except yaml.YAMLError as error:
        raise RecipeError(
            f"set[{key!r}] cannot be a value of a recipe.",
            expected="numbers, texts, lists and mappings",
            found=type(value).__name__,
        ) from error
    return cast(str, text.removesuffix("...\n").strip())


def _plain(value: Any) -> Any:
    """A value made of what YAML knows: paths are texts, tuples lists, scalars of numpy and torch numbers."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.item() if hasattr(value, "item") else value


@contextlib.contextmanager
def _progress(shown: bool) -> Iterator[Any]:
    if shown:
        from edgegd.cli.progress import TerminalProgress

        with TerminalProgress() as progress:
            yield progress
    else:
        from edgegd.progress import Silent

        yield Silent()


@contextlib.contextmanager
def _missing_extras_named() -> Iterator[None]:
    """Within it, a package that is not installed is MissingExtraError, as on the command line."""
    try:
        yield
    except ModuleNotFoundError as error:
        from edgegd.cli.unforeseen import documented

        raise documented(error) from error
