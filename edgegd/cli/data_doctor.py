"""`edgegd data doctor`: what in a data set would spoil a training, or what is measured after it."""

from __future__ import annotations

from pathlib import Path

import click

from edgegd.cli.imgsz import ImageSize
from edgegd.cli.json_output import json_text
from edgegd.cli.progress import TerminalProgress
from edgegd.cli.trust import TRUST
from edgegd.network_size import NetworkSize


@click.command("doctor")
@click.argument("data")
@click.option(
    "--imgsz",
    type=ImageSize(),
    default="640",
    show_default=True,
    help="Of the network's input, for which sizes of boxes are judged: one number, or height and width (384,640).",
)
@click.option(
    "--fix",
    type=click.Path(path_type=Path),
    help="A new folder: write a corrected copy of the labels and the YAML into it, with links to the images.",
)
@TRUST
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def data_doctor(context: click.Context, data: str, imgsz: NetworkSize, fix: Path | None, as_json: bool) -> None:
    """Look at every image and label of DATA for what spoils trainings and measurements; nothing in it is changed.

    DATA is an Ultralytics data set YAML, or a folder with one (such as a streets or BCCD set). Exit code 27: errors, a
    run refuses the set or what it measures is wrong. 28: warnings. 0: neither; there may be notes. See docs/data.md.

    \b
    edgegd data doctor my-data.yaml --imgsz 320
    edgegd data doctor datasets/bccd --imgsz 384,640 --json
    edgegd data doctor my-data.yaml --fix my-data-corrected
    """
    from edgegd.data.doctor import examine
    from edgegd.data.doctor.corrected_copy import require_place, write_corrected_copy
    from edgegd.data.yaml_set import find_data_yaml, read_data_yaml
    from edgegd.errors import DataFaultError, DataWarningError
    from edgegd.report.data_findings import examination_text

    described = read_data_yaml(find_data_yaml(data))
    if fix is not None:
        require_place(fix, described)
    with TerminalProgress() as progress:
        examination = examine(described, imgsz, progress.update)
        copy = None if fix is None else write_corrected_copy(examination, fix)
    code = {"error": DataFaultError.exit_code, "warning": DataWarningError.exit_code}.get(str(examination.worst), 0)
    if as_json:
        more = {} if copy is None else {"fixed": copy.to_json()}
        click.echo(json_text({**examination.to_json(), "exit_code": code, **more}))
    else:
        click.echo(examination_text(examination))
        if copy is not None:
            click.echo("\n" + "\n".join(copy.sentences()))
    context.exit(code)
