"""`--variant`: the option of every command that looks at one quantized model of a run."""

from __future__ import annotations

from typing import Any

import click

from edgegd.variants import QUANTIZED

VARIANT: Any = click.option(
    "--variant",
    type=click.Choice(QUANTIZED),
    help="Which quantized model.  [default: the one that the report says to ship]",
)
