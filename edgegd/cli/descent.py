"""`edgegd descent`: what a gradient descent did, and what another one would do."""

from __future__ import annotations

import click

from edgegd.cli.descent_export import export
from edgegd.cli.landscape import landscape
from edgegd.cli.watch import watch


@click.group()
def descent() -> None:
    """Look into a run's gradient descent: what it did, why, and what to change.

    \b
    edgegd descent watch runs/try1
    edgegd descent landscape runs/try1
    """


COMMANDS: tuple[click.Command, ...] = (watch, landscape, export)
for command in COMMANDS:
    descent.add_command(command)
