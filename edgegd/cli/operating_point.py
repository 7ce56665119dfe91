"""`edgegd operating-point`: which score threshold keeps what the float model did?"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click

from edgegd.cli.json_output import json_text
from edgegd.cli.numbers import FiniteFloat
from edgegd.cli.variant import VARIANT


@click.command("operating-point")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option(
    "--conf",
    type=FiniteFloat(0, 1),
    default=0.25,
    show_default=True,
    help="The score threshold at which the float model is used.",
)
@VARIANT
@click.option(
    "--embed",
    type=click.Path(path_type=Path),
    help="Also write a copy of the model's edge file that carries its thresholds in the metadata: one file to ship.",
)
@click.option(
    "--keep",
    type=click.Choice(("precision", "recall", "f1")),
    default="recall",
    show_default=True,
    help="With --embed: what of FP32 the thresholds keep; f1 is the model's own best.",
)
@click.option("--json", "as_json", is_flag=True, help="Print operating-point.json.")
def operating_point(
    run_dir: Path, conf: float, variant: str | None, embed: Path | None, keep: str, as_json: bool
) -> None:
    """Find the score thresholds at which the INT8 model keeps FP32's precision or recall, by class.

    From what `edgegd accuracy` kept; no model runs. Precision and recall at your threshold, FP32 and INT8 side by side;
    thresholds that keep FP32's precision, its recall, or have the best F1; how scores shifted; a free-response curve;
    mAP by object size. It is stored in the run folder, and `edgegd report` shows it.

    \b
    edgegd operating-point runs/try1
    edgegd operating-point runs/try1 --conf 0.4 --variant ptq --json
    edgegd operating-point runs/try1 --embed ship/detector.onnx    # for Detector(path, conf="recommended")
    """
    with contextlib.redirect_stdout(sys.stderr):
        from edgegd.pipeline import operating_point as points
        from edgegd.pipeline.run_folder import RunFolder
        from edgegd.report.blocks import as_text
        from edgegd.report.operating_point import operating_blocks
        from edgegd.safe_outputs import check_outputs

        folder = RunFolder.open_existing(run_dir)
        check_outputs({"--embed": (embed, lambda head: False)}, [])
        with folder.locked():
            result = points.operating_point(folder, variant or "", conf)
            if embed:
                points.embed(folder, result, keep, embed)
    click.echo(json_text(result) if as_json else as_text(operating_blocks(result)))
