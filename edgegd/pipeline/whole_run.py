"""A recipe's whole run, for the command line and for Python: its folder, and the stages that the recipe needs."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from edgegd.pipeline.artifacts import LATENCY
from edgegd.pipeline.registry import stages_of
from edgegd.pipeline.run_folder import RunFolder
from edgegd.progress import Progress
from edgegd.recipe.load import load_recipe
from edgegd.recipe.shipped import find_recipe, recipe_name


def run_recipe_file(
    recipe: str | Path, overrides: Sequence[str], run_dir: Path | None, until: str, progress: Progress
) -> tuple[RunFolder, dict[str, str]]:
    """Runs a recipe (a file, or a shipped name) up to the stage `until`; returns the folder, and name -> `ran` or
    `unchanged`.

    `overrides` are `section.key=value`; without `run_dir` the folder is runs/RECIPE. The recipe, the training device
    and the target are looked at before there is a folder. Raises RecipeError and RecipeNotFoundError, and whatever
    `run_stages` raises.
    """
    path = find_recipe(recipe)
    loaded, name = load_recipe(path, overrides), recipe_name(path)
    folder_path = run_dir or Path("runs") / name.replace("/", "-")

    from edgegd.descent.device import require_devices
    from edgegd.pipeline.run import run_stages
    from edgegd.targets.base import require_real
    from edgegd.targets.registry import find_target

    require_devices(loaded.train)  # hours before it would be used, and before there is a folder
    stages = stages_of(loaded, until)
    if "latency" in stages and not (folder_path / LATENCY).exists():
        with contextlib.closing(find_target(loaded.target.host)) as target:  # hours before it is needed
            require_real(target)
    folder = RunFolder.create(folder_path, loaded, name)
    return folder, run_stages(folder, stages, progress)
