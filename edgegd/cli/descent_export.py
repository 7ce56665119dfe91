"""`edgegd descent export`: a run's telemetry for trackers of experiments."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click

from edgegd.cli.json_output import json_text
from edgegd.cli.trust import TRUST
from edgegd.report.trackers import TRACKERS


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--to", "tracker", type=click.Choice(TRACKERS), required=True, help="Who takes it.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="tensorboard: a new folder for event files.  [default: RUN_DIR/tensorboard]  trackio: its own folder.",
)
@click.option("--uri", help="mlflow: its tracking address, such as sqlite:///runs.db.  [default: MLFLOW_TRACKING_URI]")
@TRUST
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def export(run_dir: Path, tracker: str, out: Path | None, uri: str | None, as_json: bool) -> None:
    """Write a run's telemetry for TensorBoard, MLflow or trackio: every number of every step, and mAP by epoch.

    Only the package of the tracker that is named is imported. A run whose QAT goes on is written as far as it is.

    \b
    edgegd descent export runs/try1 --to tensorboard
    edgegd descent export runs/try1 --to mlflow --uri http://localhost:5000
    """
    if out and tracker == "mlflow":
        raise click.UsageError("--out is for tensorboard and trackio; mlflow takes --uri")
    if uri and tracker != "mlflow":
        raise click.UsageError("--uri is for mlflow; tensorboard and trackio take --out")
    with contextlib.redirect_stdout(sys.stderr):
        from edgegd.pipeline.run_folder import RunFolder
        from edgegd.pipeline.telemetry_export import export_telemetry

        written = export_telemetry(RunFolder.open_existing(run_dir), tracker, out, uri)
    if as_json:
        click.echo(json_text(written))
        return
    click.echo(f"{written['values']} numbers of {written['steps']} steps: {written['place']}")
