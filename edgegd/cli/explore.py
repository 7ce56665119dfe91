"""`edgegd explore`: a run's images as a page to look through."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click

from edgegd.cli.json_output import json_text
from edgegd.cli.progress import TerminalProgress


@click.command("explore")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option(
    "--images",
    type=click.IntRange(1, 5000),
    default=1000,
    show_default=True,
    help="How many images the page shows at most: the worst of all that are known.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def explore(run_dir: Path, images: int, as_json: bool) -> None:
    """Make explorer.html: the images of a run as a gallery and a map, in one file to open in a browser.

    Each image with its label, FP32's and INT8's boxes, damage and losses; sorted and filtered by class, size of
    objects, kind of error and split; and a map on which images lie together that the float model sees alike. Where
    `edgegd images` was not asked yet, it is asked first; training images are shown where `edgegd labels` was. See
    docs/explorer.md.

    \b
    edgegd explore runs/try1                # then open runs/try1/explorer.html
    edgegd explore runs/try1 --images 200 --json
    """
    with contextlib.redirect_stdout(sys.stderr):
        from edgegd.pipeline.explorer import make_explorer
        from edgegd.pipeline.run_folder import RunFolder

        folder = RunFolder.open_existing(run_dir)
        with folder.locked(), TerminalProgress() as progress:
            made = make_explorer(folder, progress, images)
    if as_json:
        click.echo(json_text(made.to_json()))
    else:
        click.echo(
            f"{folder.artifact('explorer.html')}: {made.images} of {made.known} images, {made.bytes / 1e6:.1f} MB"
        )
