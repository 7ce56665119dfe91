"""`edgegd descent`: what a gradient descent did, and what another one would do."""

from __future__ import annotations

import click

from edgegd.cli.compare import compare
from edgegd.cli.lr_range import lr_range


@click.group()
def descent() -> None:
    """Look into a run's gradient descent: what it did, why, and what to change.

    \b
    edgegd descent lr-range runs/try1
    """


COMMANDS: tuple[click.Command, ...] = (lr_range, compare)
for command in COMMANDS:
    descent.add_command(command)
