"""`edgegd descent landscape`: the loss around a run's descent."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click

from edgegd.cli.json_output import json_text
from edgegd.cli.progress import TerminalProgress
from edgegd.cli.trust import TRUST


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--grid", type=click.IntRange(2, 201), default=21, show_default=True, help="Places to each side.")
@click.option(
    "--batch", type=click.IntRange(1, 100_000), help="Training images whose loss it is.  [default: train.batch]"
)
@click.option(
    "--cut", type=click.IntRange(3, 2001), default=81, show_default=True, help="Places along the step that is cut."
)
@click.option(
    "--step",
    type=click.IntRange(1, 1_000_000_000),
    help="The step that is cut; those before it are made again.  [default: the first at the full rate, 32 at most]",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of a direction that is drawn."
)
@TRUST
@click.option("--json", "as_json", is_flag=True, help="Print what is drawn as JSON.")
def landscape(
    run_dir: Path, grid: int, batch: int | None, cut: int, step: int | None, seed: int, as_json: bool
) -> None:
    """Draw the loss around a run's QAT: the plane through its start, best and last point, in float and quantized.

    Distances are shares of every filter's own norm. Below the maps is a cut along one step of the descent, made again,
    with the parabola that judges the step's length. Writes descent-landscape.json and descent-landscape.svg into the
    run folder and changes nothing else in it.

    \b
    edgegd descent landscape runs/try1
    edgegd descent landscape runs/try1 --grid 41 --batch 32 --step 100
    """
    with contextlib.redirect_stdout(sys.stderr), TerminalProgress() as progress:
        from edgegd.pipeline.artifacts import LANDSCAPE_PICTURE
        from edgegd.pipeline.landscape import LandscapeSettings, write_landscape
        from edgegd.pipeline.run_folder import RunFolder

        folder = RunFolder.open_existing(run_dir)
        found = write_landscape(folder, LandscapeSettings(grid, batch, cut, step, seed), progress)
    if as_json:
        click.echo(json_text(found))
        return
    click.echo(found["sentence"])
    click.echo(f"{found['seconds']:.0f} s; {folder.artifact(LANDSCAPE_PICTURE)}")
