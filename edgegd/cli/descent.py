"""`edgegd descent`: what a gradient descent did, and what another one would do."""

from __future__ import annotations

import click

from edgegd.cli.descent_diagnose import diagnose


@click.group()
def descent() -> None:
    """Look into a run's gradient descent: what it did, why, and what to change.

    \b
    edgegd descent diagnose runs/try1
    """


COMMANDS: tuple[click.Command, ...] = (diagnose,)
for command in COMMANDS:
    descent.add_command(command)
