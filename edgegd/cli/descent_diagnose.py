"""`edgegd descent diagnose`: what happened in a run's descent, in plain sentences."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from edgegd.cli.json_output import json_text


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def diagnose(run_dir: Path, as_json: bool) -> None:
    """Say what happened in a run's gradient descent, and what to change: each finding with its evidence.

    It reads the lines that QAT, and the adaptation where there is one, have written so far: also while they run, and
    after they were killed or their loss was not finite. docs/diagnosis.md explains the rules.

    \b
    edgegd descent diagnose runs/try1
    """
    from edgegd.pipeline.diagnosis import diagnose_folder
    from edgegd.pipeline.run_folder import RunFolder
    from edgegd.report.diagnosis.text import diagnosis_text

    found = diagnose_folder(RunFolder.open_existing(run_dir))
    if as_json:
        descents = [dataclasses.asdict(one) for one in found]
        click.echo(json_text({"descents": descents}))
        return
    click.echo("\n\n".join(diagnosis_text(one) for one in found))
