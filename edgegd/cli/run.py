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
from edgegd.pipeline.artifacts import REPORT, REPORT_PAGE, REPORT_TEXT, as_made
from edgegd.pipeline.registry import STAGES


@click.command()
@click.argument("recipe")
@click.option("--set", "overrides", metavar="SECTION.KEY=VALUE", multiple=True, help="Override one key of the recipe.")
@click.option("--run-dir", type=click.Path(path_type=Path), help="Where the run's files go.  [default: runs/RECIPE]")
@click.option(
    "--until", type=click.Choice(list(STAGES)), default="report", show_default=True, help="Last stage to run."
)
@TRUST
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def run(recipe: str, overrides: tuple[str, ...], run_dir: Path | None, until: str, as_json: bool) -> None:
    """Run RECIPE (a file, or a shipped name such as bccd/yolo26n) and print FP32, PTQ and QAT side by side.

    Stages whose inputs have not changed are skipped; a run that was killed goes on with the same command.

    \b
    edgegd run recipes/bccd/yolo26n.yaml --set train.epochs=3 --run-dir runs/try1
    """
    # Ultralytics prints on stdout; what this command promises there is the table, or JSON.
    with contextlib.redirect_stdout(sys.stderr):
        from edgegd.pipeline.whole_run import run_recipe_file

        with TerminalProgress() as progress:
            folder, outcome = run_recipe_file(recipe, overrides, run_dir, until, progress)
    show(folder, outcome, as_json)


def show(folder: Any, outcome: dict[str, str], as_json: bool, *, passes: list[dict[str, Any]] | None = None) -> None:
    """Prints what a command did: JSON, or the summary table once there is a report, or the stages' outcome.

    `passes` are those of the edge file with their measured gains, where they were asked for.
    """
    if "report" not in outcome:
        _show(folder, outcome, as_json, None, passes)
        return
    with as_made(folder, REPORT):
        _show(folder, outcome, as_json, folder.read_json(REPORT), passes)


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
        click.echo(f"\n{folder.path / REPORT_PAGE}\n{folder.path / REPORT_TEXT}")
    else:
        for name, what in outcome.items():
            click.echo(f"{name}: {what}")
    if passes is not None and not as_json:
        from edgegd.report.passes import passes_table

        click.echo(f"\n{passes_table(passes)}")
