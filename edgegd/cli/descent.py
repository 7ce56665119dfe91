"""`edgegd descent`: what a gradient descent did, and what another one would do."""

from __future__ import annotations

import click

from edgegd.cli.compare import compare
from edgegd.cli.descent_diagnose import diagnose
from edgegd.cli.descent_export import export
from edgegd.cli.landscape import landscape
from edgegd.cli.lr_range import lr_range
from edgegd.cli.watch import watch


@click.group()
def descent() -> None:
    """Look into a run's gradient descent: what it did, why, and what to change.

    \b
    edgegd descent watch runs/try1
    edgegd descent diagnose runs/try1
    """


COMMANDS: tuple[click.Command, ...] = (watch, diagnose, lr_range, compare, landscape, export)
for command in COMMANDS:
    descent.add_command(command)
