"""`edgegd descent watch`: the page of a run while it goes on."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click

from edgegd.cli.json_output import json_text

RELOAD_S = 10


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default="any", help="Port of 127.0.0.1.")
@click.option("--json", "as_json", is_flag=True, help="Print the address as JSON.")
def watch(run_dir: Path, port: int, as_json: bool) -> None:
    """Show the page of a run in a browser while the run goes on: what its descent did so far.

    The page reloads itself, and is read only: nothing in the run folder changes, and only this machine can see it.
    Ctrl-C ends the command; the run does not notice.

    \b
    edgegd descent watch runs/try1
    """
    with contextlib.redirect_stdout(sys.stderr):
        from edgegd.pipeline.report_page import PageSoFar
        from edgegd.pipeline.run_folder import RunFolder
        from edgegd.report.serve import PageServer

        page = PageSoFar(RunFolder.open_existing(run_dir), RELOAD_S)
        server = PageServer(page.html, port)
    with server:
        click.echo(json_text({"address": server.address}) if as_json else f"{server.address}  (Ctrl-C ends it)")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
