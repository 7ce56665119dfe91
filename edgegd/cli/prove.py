"""`edgegd prove`: what a run's files are on a device."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click

from edgegd.cli.json_output import json_text
from edgegd.cli.numbers import FiniteFloat
from edgegd.cli.progress import TerminalProgress
from edgegd.cli.trust import TRUST
from edgegd.cli.variant import VARIANT


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--target", help="A name of `edgegd target ls`, or a URL.  [default: the recipe's target.host]")
@VARIANT
@click.option(
    "--budget",
    "budget_mb",
    type=FiniteFloat(0, 10_000_000),
    default=500.0,
    show_default=True,
    help="MB of letterboxed validation images that may be sent; mAP is of the first images that fit.",
)
@click.option("--junit", type=click.Path(path_type=Path), help="Also write the limits and codes as JUnit XML.")
@TRUST
@click.option("--json", "as_json", is_flag=True, help="Print the proof as JSON.")
@click.pass_context
def prove(
    context: click.Context,
    run_dir: Path,
    target: str | None,
    variant: str | None,
    budget_mb: float,
    junit: Path | None,
    as_json: bool,
) -> None:
    """Prove a run's files on a device: integer codes, mAP, latency, loading and memory, against the recipe's limits.

    FP32, and the portable and the edge file of one variant. Codes are compared with this machine's, mAP is that of the
    device's own outputs. The result is DIR/device-TARGET.json, which `edgegd report` shows. A proof that was cut off
    goes on with the same command. Exit code 99: a limit of the recipe's prove.limits is not met; 71: codes differ.

    \b
    edgegd prove runs/try1 --target pi5
    edgegd prove runs/try1 --target pi5 --junit proof.xml
    """
    with contextlib.redirect_stdout(sys.stderr):
        from edgegd.pipeline.proof.prove import exit_code, proof_file
        from edgegd.pipeline.proof.prove import prove as run_proof
        from edgegd.pipeline.run_folder import RunFolder
        from edgegd.report.junit import write_proof
        from edgegd.safe_outputs import check_outputs, is_junit
        from edgegd.targets.registry import find_target

        folder = RunFolder.open_existing(run_dir)
        check_outputs({"--junit": (junit, is_junit)}, [path for path in run_dir.iterdir() if path.is_file()])
        with contextlib.closing(find_target(target or folder.recipe.target.host)) as device:
            file = folder.artifact(proof_file(device.name))
            with TerminalProgress() as progress:
                proof = run_proof(folder, device, progress, variant=variant, budget_mb=budget_mb)
        if junit is not None:
            write_proof(junit, proof)
    code = exit_code(proof)
    if as_json:
        click.echo(json_text(proof | {"file": str(file), "exit_code": code}))
    else:
        from edgegd.report.blocks import as_text
        from edgegd.report.device import device_blocks

        click.echo(f"{as_text(device_blocks(proof))}\n\n{file}")
    context.exit(code)
