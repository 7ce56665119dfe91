"""`edgegd descent compare`: optimizers and batches side by side."""

from __future__ import annotations

import contextlib
import math
import sys
from pathlib import Path
from typing import Any

import click

from edgegd.cli.json_output import json_text
from edgegd.cli.progress import TerminalProgress
from edgegd.cli.trust import TRUST

OPTIMIZERS = ("SGD", "SGD+momentum", "Adam", "AdamW", "MuSGD")
FULL = "full"
_LARGEST_BATCH = 100_000


class _Listed(click.ParamType):
    """Values between commas, each of them once; `one` makes a value of a text or raises ValueError."""

    name = "list"

    def __init__(self, what: str) -> None:
        self.what = what

    def one(self, text: str) -> Any:
        raise NotImplementedError

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A tuple of values; click's usage error (exit code 2) for a text that has another."""
        if isinstance(value, tuple):
            return value
        found = []
        for text in (part.strip() for part in str(value).split(",")):
            try:
                found.append(self.one(text))
            except ValueError:
                self.fail(f"expected {self.what}, found {text!r}.", param, ctx)
        return tuple(dict.fromkeys(found))


class Optimizers(_Listed):
    """Names, each alone or as NAME=RATE."""

    def one(self, text: str) -> tuple[str, float | None]:
        """Name and rate (None: a range test finds it)."""
        name, equals, rate = text.partition("=")
        names = {one.lower(): one for one in OPTIMIZERS}
        if name.lower() not in names:
            raise ValueError(text)
        number = float(rate) if equals else None
        if number is not None and not (math.isfinite(number) and number > 0):
            raise ValueError(text)
        return names[name.lower()], number


class Batches(_Listed):
    """`full`, and whole numbers from 1 on."""

    def one(self, text: str) -> int | str:
        """A batch."""
        if text == FULL:
            return FULL
        if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= _LARGEST_BATCH:
            raise ValueError(text)
        return int(text)


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option(
    "--optimizers",
    type=Optimizers(f"some of {', '.join(OPTIMIZERS)}, each also as NAME=RATE"),
    metavar="NAME[=RATE],...",
    default=",".join(OPTIMIZERS),
    show_default=True,
    help="Which, and at what peak rate; where none is given, a range test of the weights finds it.",
)
@click.option(
    "--batch",
    "batches",
    type=Batches("full, or a whole number of images from 1 on"),
    metavar="N,...",
    help="Images a step, or full: all of an epoch in one step, accumulated.  [default: train.batch]",
)
@click.option(
    "--epochs", type=click.IntRange(1, 100_000), default=2, show_default=True, help="The budget of every training."
)
@click.option("--seeds", type=click.IntRange(1, 100), default=3, show_default=True, help="Trainings of each.")
@TRUST
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def compare(
    run_dir: Path,
    optimizers: tuple[tuple[str, float | None], ...],
    batches: tuple[int | str, ...] | None,
    epochs: int,
    seeds: int,
    as_json: bool,
) -> None:
    """Train the calibrated model with several optimizers and batches: same start, same images in the same order.

    Weights and biases learn; ranges stay as calibrated. Says which ends lowest by the loss of held-out images, and
    which cannot be told apart from it. Needs the stage ptq; whatever the run did after it stays as it is. Writes
    descent-compare.json and descent-compare.svg into the run folder.

    \b
    edgegd descent compare runs/try1
    edgegd descent compare runs/try1 --optimizers SGD,AdamW=5e-5 --batch full,16,1
    """
    with contextlib.redirect_stdout(sys.stderr):
        from edgegd.pipeline.artifacts import COMPARE_PICTURE
        from edgegd.pipeline.comparison import ComparisonSettings
        from edgegd.pipeline.comparison import compare as train_all
        from edgegd.pipeline.run_folder import RunFolder
        from edgegd.report.comparison import HEADERS, rows
        from edgegd.report.table import table

        folder = RunFolder.open_existing(run_dir)
        with TerminalProgress() as progress:
            found = train_all(folder, ComparisonSettings(optimizers, batches, epochs, seeds), progress)
    if as_json:
        click.echo(json_text(found))
        return
    click.echo(f"{table(rows(found['contenders']), HEADERS)}\n\n{found['sentence']}")
    click.echo(f"\n{folder.artifact(COMPARE_PICTURE)}")
