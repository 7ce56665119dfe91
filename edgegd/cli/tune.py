"""`edgegd latency tune`: how many threads to run with on a device."""

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
@click.option("--target", help="A name of `edgegd target ls`, or a URL.  [default: where the recipe says]")
@click.option("--file", help="An ONNX file of the run folder.  [default: the edge file of the model to ship]")
@click.option(
    "--launches", type=click.IntRange(1, 10_000), help="Fresh processes of every candidate.  [default: the recipe's]"
)
@click.option(
    "--embed",
    type=click.Path(path_type=Path),
    help="Also write a copy of the tuned file that carries the result in its metadata: one file to ship.",
)
@TRUST
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def tune(
    run_dir: Path, target: str | None, file: str | None, launches: int | None, embed: Path | None, as_json: bool
) -> None:
    """Find the best threads of a run's file on a device, for one image as soon as possible and for images per second.

    Measures one to all cores, idle threads sleeping or spinning, the big cores of a CPU that has big and little ones,
    and several callers at once; FP32 beside it. Paired, in fresh processes: some minutes on an idle device. Stored as
    tune-TARGET.json, shown in the report, and written beside the model (qat.edge.threads.json), where
    Detector(path, threads="tuned") and `edgegd predict --threads tuned` read it on the device.

    \b
    edgegd latency tune runs/try1
    edgegd latency tune runs/try1 --target pi5 --embed ship/detector.onnx
    """
    with contextlib.redirect_stdout(sys.stderr):
        from edgegd.pipeline import tuning
        from edgegd.pipeline.run_folder import RunFolder
        from edgegd.report.blocks import as_text
        from edgegd.report.threads import threads_blocks
        from edgegd.safe_outputs import check_outputs

        folder = RunFolder.open_existing(run_dir)
        check_outputs({"--embed": (embed, lambda head: False)}, [folder.artifact(tuning.tuned_model(folder, file))])
        with folder.locked(), TerminalProgress() as progress:
            found = tuning.tune_on(folder, target or folder.recipe.target.host, progress, file=file, launches=launches)
            if embed:
                tuning.embed(folder, found, embed)
            if note := tuning.profile_note(folder, found):
                progress.note(note)
    click.echo(
        json_text(found) if as_json else f"{found['file']} on {found['target']}\n\n{as_text(threads_blocks(found))}"
    )
