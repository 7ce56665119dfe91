"""`edgegd emulate`: an exported model on other CPUs, without a board."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

import click

from edgegd.cli.json_output import json_text
from edgegd.cli.trust import TRUST
from edgegd.errors import ParityError
from edgegd.targets.emulator import CPUS


@click.command()
@click.argument("model", metavar="RUN_DIR|MODEL.onnx", type=click.Path(path_type=Path))
@click.option(
    "--cpu",
    "names",
    type=click.Choice(tuple(CPUS)),
    multiple=True,
    help="CPU to emulate; may be given several times.  [default: all]",
)
@click.option(
    "--images",
    "count",
    type=click.IntRange(1, 10_000),
    default=2,
    show_default=True,
    help="Images to run: of the run's validation set, or drawn street scenes for a file.",
)
@TRUST
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def emulate(model: Path, names: tuple[str, ...], count: int, as_json: bool) -> None:
    """Run an exported model on emulated CPUs and compare every integer code with this machine's.

    Of a run, qat.onnx and its edge file are taken. onnxruntime is the real one of that CPU; what it needs is fetched
    once (about 125 MB). Ends with exit code 71 where codes or outputs differ.

    \b
    edgegd emulate runs/try1 --cpu cortex-a76 --cpu cortex-a72
    """
    with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as scratch:
        from edgegd.verify.emulated import compare_cpus, to_json

        files, images = _models_and_images(model, count, Path(scratch))
        compared = {
            file: compare_cpus(
                file, [CPUS[name] for name in names or CPUS], images, lambda text: click.echo(text, err=True)
            )
            for file in files
        }
    if as_json:
        click.echo(json_text([{"model": str(file), "cpus": to_json(cpus)} for file, cpus in compared.items()]))
    else:
        from edgegd.report.table import table

        rows = [
            [
                file.name,
                c.cpu,
                f"{c.tensors - c.differing} of {c.tensors}",
                f"{c.equal_codes:.4%}",
                c.largest_distance,
                c.first_difference or "-",
                f"{c.agreeing_share:.0%} of {c.detections}",
                f"{c.largest_shift_px:.2f} px",
                "identical" if c.equal_outputs else "different",
            ]
            for file, cpus in compared.items()
            for c in cpus
        ]
        headers = [
            "file",
            "emulated CPU",
            "equal tensors",
            "equal codes",
            "largest distance",
            "first differing tensor",
            "detections that agree",
            "largest shift",
            "output",
        ]
        click.echo(table(rows, headers))
    comparisons = [comparison for cpus in compared.values() for comparison in cpus]
    for comparison in comparisons:
        if not comparison.undisturbed:
            click.echo(
                f"{comparison.cpu}: with its codes as outputs the file computes other detections than without", err=True
            )
    if not all(comparison.identical for comparison in comparisons):
        click.get_current_context().exit(ParityError.exit_code)  # two computations of one model disagree


def _models_and_images(path: Path, count: int, scratch: Path) -> tuple[list[Path], list[Path]]:
    if path.is_dir():
        from edgegd.pipeline.artifacts import EDGE, PORTABLE
        from edgegd.pipeline.run_folder import RunFolder
        from edgegd.pipeline.stored import stored_dataset

        folder = RunFolder.open_existing(path)
        files = [folder.require(artifact) for artifact in (PORTABLE["qat"], EDGE["qat"])]
        return files, list(stored_dataset(folder).measured_images[:count])
    from edgegd.data.streets import make_streets

    make_streets(scratch / "streets", train=1, val=count, seed=0)
    return [path], sorted((scratch / "streets" / "images" / "val").iterdir())
