"""`edgegd recipe`: the recipes that ship, a copy to edit, and every mistake of a recipe at once."""

from __future__ import annotations

from pathlib import Path

import click

from edgegd.cli.json_output import json_text
from edgegd.cli.trust import TRUST
from edgegd.foreign_text import one_line


@click.group()
def recipe() -> None:
    """List, copy and validate recipes.

    \b
    edgegd recipe ls
    """


@recipe.command("ls")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def list_recipes(as_json: bool) -> None:
    """List the recipes that ship.

    \b
    edgegd recipe ls
    """
    from edgegd.recipe.shipped import shipped_recipes

    recipes = shipped_recipes()
    if as_json:
        click.echo(json_text([{"name": r.name, "path": str(r.path), "description": r.description} for r in recipes]))
        return
    for shipped in recipes:
        click.echo(f"{shipped.name:<24} {one_line(shipped.description)}")


@recipe.command("cp")
@click.argument("name")
@click.argument("destination", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the new file's path as JSON.")
def copy(name: str, destination: Path, as_json: bool) -> None:
    """Copy the recipe NAME to DESTINATION, to edit it. Never overwrites a file.

    \b
    edgegd recipe cp bccd/yolo26n my.yaml
    """
    from edgegd.recipe.shipped import copy_recipe

    path = copy_recipe(name, destination)
    click.echo(json_text({"path": str(path)}) if as_json else f"{path}\nedit it, then: edgegd recipe validate {path}")


@recipe.command("validate")
@click.argument("name")
@click.option("--set", "overrides", metavar="SECTION.KEY=VALUE", multiple=True, help="Override one key of the recipe.")
@TRUST
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def validate(name: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check the recipe NAME (a file, or one that ships) and show every mistake in it at once.

    \b
    edgegd recipe validate my.yaml --set train.epochs=3
    """
    from edgegd.recipe.load import load_recipe

    load_recipe(name, overrides)
    click.echo(json_text({"valid": True}) if as_json else f"{name}: valid")
