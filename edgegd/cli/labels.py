"""`edgegd labels`: what the training did with its images, and which of their labels may be wrong."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click

from edgegd.cli.json_output import json_text
from edgegd.cli.numbers import FiniteFloat
from edgegd.cli.progress import TerminalProgress
from edgegd.cli.variant import VARIANT


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option(
    "--suspects",
    type=click.IntRange(0, 100_000),
    default=100,
    show_default=True,
    help="How many suspected labels of each kind are listed at most.",
)
@click.option(
    "--scores",
    type=click.Choice(("support", "objectlab")),
    default="support",
    show_default=True,
    help="How labels are judged: by the detections that support them, or by the scores of ObjectLab.",
)
@VARIANT
@click.option(
    "--conf",
    type=FiniteFloat(0.05, 1),
    default=0.25,
    show_default=True,
    help="The score threshold at which FP32 and INT8 are compared.",
)
@click.option("--json", "as_json", is_flag=True, help="Print training-images.json.")
def labels(run_dir: Path, suspects: int, scores: str, variant: str | None, conf: float, as_json: bool) -> None:
    """Find training images that were never learned, forgotten or hurt by INT8, and labels that may be wrong.

    From the losses that QAT recorded of each training image, and from what FP32 and the INT8 model detect on all of
    them now. Suspected labels are of three kinds: overlooked, badly placed, of a swapped class. It is stored as
    training-images.json in the run folder, and `edgegd report` shows it. No label is changed. See docs/labels.md.

    \b
    edgegd labels runs/try1
    edgegd labels runs/try1 --suspects 500 --json
    edgegd labels runs/try1 --scores objectlab --variant ptq
    """
    with contextlib.redirect_stdout(sys.stderr):
        from edgegd.pipeline.run_folder import RunFolder
        from edgegd.pipeline.training_images import training_images
        from edgegd.report.blocks import as_text
        from edgegd.report.training_images import training_images_blocks

        folder = RunFolder.open_existing(run_dir)
        with folder.locked(), TerminalProgress() as progress:
            result = training_images(folder, progress, variant or "", conf, suspects, scores)
    shown = {**result, "images": len(result["images"])}
    click.echo(json_text(result) if as_json else as_text(training_images_blocks(shown)))
