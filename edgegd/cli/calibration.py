"""`edgegd calibration`: are there enough calibration images, and which of them stand out?"""

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
@click.option(
    "--images",
    type=click.IntRange(2, 100_000),
    default=512,
    show_default=True,
    help="Training images that are looked at, at most; time grows with them, memory hardly.",
)
@TRUST
@click.option("--json", "as_json", is_flag=True, help="Print calibration-curve.json.")
def calibration(run_dir: Path, images: int, as_json: bool) -> None:
    """Show whether ranges, and what they cost at the head, still move with more calibration images.

    Ranges are chosen as stage `ptq` chooses them, from samples of 8, 16, 32, ... training images that share none, each
    image running once. Up to 32 further images judge them against the float model. It says how many images are enough,
    and which extend ranges alone. Needs the stage ptq, and changes nothing that the run made; `edgegd report` shows it.

    \b
    edgegd calibration runs/try1
    edgegd calibration runs/try1 --images 128 --json
    """
    with contextlib.redirect_stdout(sys.stderr), TerminalProgress() as progress:
        from edgegd.pipeline.calibration_curve import calibration_curve
        from edgegd.pipeline.run_folder import RunFolder
        from edgegd.report.blocks import as_text
        from edgegd.report.calibration_curve import curve_blocks

        folder = RunFolder.open_existing(run_dir)
        with folder.locked():
            result = calibration_curve(folder, progress, images)
    click.echo(json_text(result) if as_json else as_text(curve_blocks(result)))
