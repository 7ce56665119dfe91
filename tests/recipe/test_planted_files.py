"""A shipped recipe takes shipped files first, whatever somebody has put into the working folder."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("ultralytics")

from edgegd.data.yaml_set import find_data_yaml
from edgegd.detectors.architecture import find_architecture
from edgegd.detectors.float_checkpoint import locate_checkpoint
from edgegd.recipe.load import load_recipe
from edgegd.recipe.paths import project_folder
from edgegd.recipe.shipped import find_recipe, recipe_name, shipped_recipes


@pytest.mark.parametrize("name", [recipe.name for recipe in shipped_recipes()])
def test_a_shipped_recipe_takes_shipped_files_first(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text("version: 1\n")
    for planted in (recipe.model.weights, recipe.data.path):
        file = tmp_path / planted.removeprefix("shipped:")
        if file.suffix:
            file.parent.mkdir(exist_ok=True)
            file.write_text("planted")
    assert find_recipe(name).is_relative_to(project_folder()) and recipe_name(find_recipe(name)) == name
    weights = recipe.model.weights
    if weights.startswith("shipped:"):
        found = find_architecture(weights) if weights.endswith(".yaml") else locate_checkpoint(weights)
        assert found.is_file() and not found.is_relative_to(tmp_path)
    else:  # a name of Ultralytics' hub: what the user has downloaded by hand lies in the working folder
        assert locate_checkpoint(weights) == tmp_path / weights
    if recipe.data.source == "yaml":
        assert not find_data_yaml(recipe.data.path).is_relative_to(tmp_path)
    assert load_recipe(name) == recipe


def test_an_architecture_without_its_scale_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "yolo26.yaml").write_text("activation: planted")  # Ultralytics takes it for yolo26n.yaml
    assert not find_architecture("yolo26n.yaml").is_relative_to(tmp_path)


def test_a_file_of_the_users_is_taken_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "streets").mkdir()
    (tmp_path / "streets/yolo26n").write_text("version: 1\n")
    assert find_recipe("./streets/yolo26n") == Path("./streets/yolo26n").absolute()
