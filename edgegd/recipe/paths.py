"""Where a relative path of a recipe points: the working directory first, then the files shipped with the project.

A path that begins with `shipped:` means a shipped file alone. The shipped recipes name their own files so: a file of
that name in the working directory, whoever put it there, is not taken instead.
"""

from __future__ import annotations

from pathlib import Path

from edgegd.home import expanded

PACKAGE = Path(__file__).resolve().parents[1]
SHIPPED = "shipped:"
"""`shipped:models/X.pt` is the project's file; `shipped:NAME.yaml`, without a folder, is Ultralytics' own."""


def recipes_folder() -> Path:
    """The folder of the shipped recipes: `recipes/` of a checkout, or `edgegd/recipes` of an installed wheel."""
    checkout = PACKAGE.parent / "recipes"
    # A wheel's parent folder is site-packages, where another project could have a `recipes` of its own.
    return checkout if (PACKAGE.parent / "pyproject.toml").is_file() else PACKAGE / "recipes"


def project_folder() -> Path:
    """The folder beside the recipes, in which `models/` and other shipped files are looked for."""
    return recipes_folder().parent


def is_packaged(text: str | Path) -> bool:
    """Whether it is `shipped:NAME` without a folder, which means a file of Ultralytics' package."""
    return str(text).startswith(SHIPPED) and "/" not in str(text)


def resolve_path(text: str | Path) -> Path:
    """The absolute path that a recipe's `model.weights` or `data.path` means; it need not exist.

    After `shipped:` it is the project's file, and never one of the working directory's. Otherwise `~` is the home
    folder, and a relative path is taken from the working directory; only when nothing is there, and the project ships a
    file of that path (`models/...`), it is the shipped one.
    """
    if str(text).startswith(SHIPPED):
        return project_folder() / str(text).removeprefix(SHIPPED)
    path = expanded(text)
    if path.is_absolute() or path.exists():
        return path.absolute()
    shipped = project_folder() / path
    return shipped if shipped.exists() else path.absolute()
