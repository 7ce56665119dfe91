"""`edgegd descent lr-range`: which learning rate the run's own data speak for."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click

from edgegd.cli.json_output import json_text
from edgegd.cli.progress import TerminalProgress
from edgegd.cli.trust import TRUST

GROUPS = ("weights", "biases", "scales", "zero_points")


@click.command("lr-range")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option(
    "--group",
    "groups",
    type=click.Choice(GROUPS),
    multiple=True,
    help="A parameter group to test; may be repeated.  [default: every one]",
)
@click.option("--seeds", type=click.IntRange(1, 100), default=3, show_default=True, help="Repetitions.")
@click.option(
    "--write",
    "recipe",
    type=click.Path(path_type=Path),
    metavar="RECIPE",
    help="Set the suggested rates in this recipe file; everything else in it stays.",
)
@TRUST
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def lr_range(run_dir: Path, groups: tuple[str, ...], seeds: int, recipe: Path | None, as_json: bool) -> None:
    """Raise the learning rate over decades on a copy of the calibrated model, and suggest a rate from the curves.

    Each parameter group by itself, the others frozen, on the run's own training batches and loss. Needs the stage ptq;
    whatever the run did after it stays as it is. Writes descent-lr-range.json and descent-lr-range.svg into the run
    folder.

    \b
    edgegd descent lr-range runs/try1
    edgegd descent lr-range runs/try1 --group weights --write my.yaml
    """
    with contextlib.redirect_stdout(sys.stderr):
        from edgegd.pipeline.artifacts import LR_RANGE_PICTURE
        from edgegd.pipeline.lr_range import lr_range as test
        from edgegd.pipeline.run_folder import RunFolder
        from edgegd.recipe.edit import require_editable, set_numbers
        from edgegd.report.learning_rate import HEADERS, rows
        from edgegd.report.table import table

        folder = RunFolder.open_existing(run_dir)
        if recipe:
            require_editable(recipe)
        with TerminalProgress() as progress:
            found = test(folder, progress, groups=tuple(dict.fromkeys(groups)), seeds=seeds)
        if recipe:
            set_numbers(recipe, found["keys"])
    if as_json:
        click.echo(json_text(found))
        return
    click.echo(f"{table(rows(found['suggestions'], found['recipe']), HEADERS)}\n\n{found['sentence']}")
    if recipe:
        said = ", ".join(f"{key}: {rate:.2g}" for key, rate in found["keys"].items()) or "nothing, as none is suggested"
        click.echo(f"\nwritten into {recipe}: {said}")
    click.echo(f"\n{folder.artifact(LR_RANGE_PICTURE)}")
