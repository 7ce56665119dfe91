"""The recipes that ship with the project: list them, find one by name, copy one to edit."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import NamedTuple

from edgegd.errors import RecipeNotFoundError, WouldOverwriteError
from edgegd.recipe.paths import recipes_folder, resolve_path
from edgegd.safe_yaml import read_yaml


class ShippedRecipe(NamedTuple):
    """A recipe's name (`bccd/yolo26n`), its file and its one-line description."""

    name: str
    path: Path
    description: str


def shipped_recipes() -> list[ShippedRecipe]:
    """Every shipped recipe, by name."""
    folder = recipes_folder()
    return [
        ShippedRecipe(
            path.relative_to(folder).with_suffix("").as_posix(), path, str(read_yaml(path).get("description", ""))
        )
        for path in sorted(folder.rglob("*.yaml"))
    ]


def find_recipe(name_or_path: str | Path) -> Path:
    """The file of a recipe given as a path or as a shipped name (with or without `recipes/` and `.yaml`).

    A shipped name as `edgegd recipe ls` prints it is the shipped recipe, whatever the working directory holds; any
    other spelling is a path first. Raises RecipeNotFoundError, which names the nearest shipped recipe.
    """
    folder = recipes_folder()
    known = [file.relative_to(folder).with_suffix("").as_posix() for file in sorted(folder.rglob("*.yaml"))]
    path = resolve_path(name_or_path)
    if path.is_file() and str(name_or_path) not in known:
        return path
    name = str(name_or_path).removesuffix(".yaml").removeprefix("recipes/")
    if name in known:
        return folder / f"{name}.yaml"
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise RecipeNotFoundError(
        f"no recipe {str(name_or_path)!r}",
        expected=f"a file, or one of {', '.join(known)}",
        found=f"{path} is a folder" if path.is_dir() else f"no file {path}",
        mend=f"{hint}`edgegd recipe ls` lists the shipped recipes",
    )


def copy_recipe(name: str | Path, destination: str | Path) -> Path:
    """Copy a recipe to a new file (into an existing folder: under its own file name) and return that file's path.

    Raises RecipeNotFoundError, and WouldOverwriteError when the destination exists, which is left as it is.
    """
    source, target = find_recipe(name), Path(destination)
    if target.is_dir():
        target = target / source.name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with target.open("xb") as file:  # x: creation fails if the file exists, without a race
            file.write(source.read_bytes())
    except FileExistsError as error:
        raise WouldOverwriteError(f"{target} exists and was left as it is", mend="give another file name") from error
    return target


def recipe_name(path: Path) -> str:
    """What identifies a recipe: its shipped name, or the absolute path of a file of the user's."""
    folder = recipes_folder().resolve()
    path = path.resolve()
    return path.relative_to(folder).with_suffix("").as_posix() if path.is_relative_to(folder) else str(path)
