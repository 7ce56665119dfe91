"""`edgegd images`: which images did quantization hurt, and which tensors did it?"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click

from edgegd.cli.json_output import json_text
from edgegd.cli.numbers import FiniteFloat
from edgegd.cli.progress import TerminalProgress
from edgegd.cli.variant import VARIANT


@click.command("images")
@click.argument("run_dir", type=click.Path(path_type=Path))
@VARIANT
@click.option(
    "--conf",
    type=FiniteFloat(0, 1),
    default=0.25,
    show_default=True,
    help="The score threshold at which the detector is used.",
)
@click.option(
    "--worst",
    type=click.IntRange(0, 1000),
    default=16,
    show_default=True,
    help="How many of the most damaged images to draw and to look into; 0 runs no model.",
)
@click.option("--json", "as_json", is_flag=True, help="Print images.json.")
def images(run_dir: Path, variant: str | None, conf: float, worst: int, as_json: bool) -> None:
    """Find the images that quantization hurt most, what went wrong in them, and the tensors that did it.

    Boxes lost, gained and moved between FP32 and the INT8 model, changes of scores, errors by kind (class, place, both,
    duplicate, background, missed), from what `edgegd accuracy` kept. For the most damaged images: pictures in
    RUN_DIR/images, and the quantized tensors with the largest errors of their own. It is stored in the run folder, and
    `edgegd report` shows it. See docs/images.md.

    \b
    edgegd images runs/try1
    edgegd images runs/try1 --variant ptq --conf 0.4 --worst 32
    edgegd images runs/try1 --worst 0 --json        # from the stored detections alone
    """
    with contextlib.redirect_stdout(sys.stderr):
        from edgegd.pipeline import images as found_images
        from edgegd.pipeline.run_folder import RunFolder
        from edgegd.report.blocks import as_text
        from edgegd.report.images import images_blocks

        folder = RunFolder.open_existing(run_dir)
        with folder.locked(), TerminalProgress() as progress:
            result = found_images.images(folder, progress, variant or "", conf, worst)
    click.echo(json_text(result) if as_json else as_text(images_blocks(result)))
