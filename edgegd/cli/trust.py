"""`--trust`: the option of every command that opens recipes, run folders or checkpoints."""

from __future__ import annotations

from typing import Any

import click

from edgegd.trust import trusting


def _enter(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        context.with_resource(trusting())


TRUST: Any = click.option(
    "--trust",
    is_flag=True,
    expose_value=False,
    callback=_enter,
    help="Open files that can run code: whole pickles, scripts in data YAMLs, commands in recipes. See SECURITY.md.",
)
