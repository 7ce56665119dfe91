"""`edgegd data`: draw, fetch or examine a data set."""

from __future__ import annotations

from pathlib import Path

import click

from edgegd.cli.data_doctor import data_doctor
from edgegd.cli.json_output import json_text
from edgegd.cli.progress import TerminalProgress
from edgegd.limits import LARGEST_SEED


@click.group()
def data() -> None:
    """Draw the generated data set, fetch a public one, or look for what is wrong with one.

    \b
    edgegd data make streets datasets/streets
    """


def _show(yaml_path: Path, as_json: bool) -> None:
    click.echo(json_text({"yaml": str(yaml_path)}) if as_json else str(yaml_path))


@data.command("make")
@click.argument("name", type=click.Choice(["streets"]))
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--train", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, help="Training images.")
@click.option("--val", type=click.IntRange(1, 1_000_000), default=150, show_default=True, help="Validation images.")
@click.option(
    "--seed",
    type=click.IntRange(0, LARGEST_SEED),
    default=0,
    show_default=True,
    help="Seed; another is another data set.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the data set's YAML path as JSON.")
def make(name: str, directory: Path, train: int, val: int, seed: int, as_json: bool) -> None:
    """Draw the data set NAME (streets: driving scenes with pedestrians, cars and traffic signs) into DIRECTORY.

    \b
    edgegd data make streets datasets/streets --train 1000 --val 150
    """
    from edgegd.data.streets import make_streets

    with TerminalProgress() as progress:
        path = make_streets(
            directory,
            train=train,
            val=val,
            seed=seed,
            progress=lambda done, total: progress.update(done, total, f"drawing {name}"),
        )
    progress.note(f"{train} training and {val} validation images")
    _show(path, as_json)


@data.command("fetch")
@click.argument("name", type=click.Choice(["bccd"]))
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--archive",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A zip of the repository that was downloaded by hand.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the data set's YAML path as JSON.")
def fetch(name: str, directory: Path, archive: Path | None, as_json: bool) -> None:
    """Fetch the data set NAME (bccd: blood cells under a microscope, MIT) into DIRECTORY and convert its labels.

    \b
    edgegd data fetch bccd datasets/bccd
    """
    from edgegd.data.bccd import fetch_bccd

    with TerminalProgress() as progress:
        path = fetch_bccd(
            directory, lambda done, total: progress.update(done, total, f"fetching {name}"), archive=archive
        )
    progress.note(f"{name} is in {directory}")
    _show(path, as_json)


data.add_command(data_doctor)
