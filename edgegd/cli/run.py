"""`edgegd run`: every stage of a recipe, from the float checkpoint to the report."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import click

from edgegd.cli.json_output import json_text
from edgegd.cli.progress import TerminalProgress
from edgegd.cli.trust import TRUST
from edgegd.recipe.schema import Recipe

SWAP_STAGES = ("activation", "adapt")  # of runs whose recipe swaps activations
SEARCH_STAGE = "search"  # of runs whose recipe has a precision budget
STAGE_NAMES = (
    "data",
    "float",
    *SWAP_STAGES,
    SEARCH_STAGE,
    "ptq",
    "qat",
    "export",
    "verify",
    "accuracy",
    "latency",
    "report",
)


def stages_of(recipe: Recipe, until: str) -> list[str]:
    """The names of the stages that a recipe needs, in order, up to the one named."""
    names = STAGE_NAMES[: STAGE_NAMES.index(until) + 1]
    left_out: tuple[str, ...] = () if recipe.quant.activation != "silu" else SWAP_STAGES
    if not recipe.precision.has_budget:
        left_out += (SEARCH_STAGE,)
    return [name for name in names if name not in left_out]


@click.command()
@click.argument("recipe")
@click.option("--set", "overrides", metavar="SECTION.KEY=VALUE", multiple=True, help="Override one key of the recipe.")
@click.option("--run-dir", type=click.Path(path_type=Path), help="Where the run's files go.  [default: runs/RECIPE]")
@click.option("--until", type=click.Choice(STAGE_NAMES), default="report", show_default=True, help="Last stage to run.")
@TRUST
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def run(recipe: str, overrides: tuple[str, ...], run_dir: Path | None, until: str, as_json: bool) -> None:
    """Run RECIPE (a file, or a shipped name such as bccd/yolo26n) and print FP32, PTQ and QAT side by side.

    Stages whose inputs have not changed are skipped; a run that was killed goes on with the same command.

    \b
    edgegd run recipes/bccd/yolo26n.yaml --set train.epochs=3 --run-dir runs/try1
    """
    from edgegd.recipe.load import load_recipe
    from edgegd.recipe.shipped import find_recipe, recipe_name

    path = find_recipe(recipe)
    loaded, name = load_recipe(path, overrides), recipe_name(path)
    folder_path = run_dir or Path("runs") / name.replace("/", "-")
    # Ultralytics prints on stdout; what this command promises there is the table, or JSON.
    with contextlib.redirect_stdout(sys.stderr):
        from edgegd.descent.device import require_device
        from edgegd.pipeline.run import run_stages
        from edgegd.pipeline.run_folder import RunFolder
        from edgegd.targets.base import require_real
        from edgegd.targets.registry import find_target

        require_device(loaded.train.device)  # hours before it would be used, and before there is a folder
        stages = stages_of(loaded, until)
        if "latency" in stages and not (folder_path / "latency.json").exists():
            with contextlib.closing(find_target(loaded.target.host)) as target:  # hours before it is needed
                require_real(target)
        folder = RunFolder.create(folder_path, loaded, name)
        with TerminalProgress() as progress:
            outcome = run_stages(folder, stages, progress)
    show(folder, outcome, as_json)


def show(folder: Any, outcome: dict[str, str], as_json: bool, *, passes: list[dict[str, Any]] | None = None) -> None:
    """Prints what a command did: JSON, or the summary table once there is a report, or the stages' outcome.

    `passes` are those of the edge file with their measured gains, where they were asked for.
    """
    if "report" not in outcome:
        _show(folder, outcome, as_json, None, passes)
        return
    from edgegd.pipeline.artifacts import as_made

    with as_made(folder, "report.json"):
        _show(folder, outcome, as_json, folder.read_json("report.json"), passes)


def _show(
    folder: Any, outcome: dict[str, str], as_json: bool, report: Any, passes: list[dict[str, Any]] | None
) -> None:
    if as_json:
        click.echo(
            json_text(
                {"run_dir": str(folder.path), "stages": outcome, "report": report}
                | ({} if passes is None else {"passes": passes})
            )
        )
    elif report:
        from edgegd.report.markdown import caveats, parity_line, summary_table
        from edgegd.report.ship import ship_lines

        said = ["\n".join([parity_line(report), *caveats(report)]), "\n".join(ship_lines(report["ship"]))]
        click.echo("\n\n".join([summary_table(report), *said]))
        click.echo(f"\n{folder.path / 'report.md'}")
    else:
        for name, what in outcome.items():
            click.echo(f"{name}: {what}")
    if passes is not None and not as_json:
        from edgegd.report.passes import passes_table

        click.echo(f"\n{passes_table(passes)}")
