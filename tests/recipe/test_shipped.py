"""The recipes that ship load, say how they are run, and can be found and copied."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from edgegd.cli.main import edgegd
from edgegd.errors import RecipeNotFoundError, WouldOverwriteError
from edgegd.recipe.load import load_recipe
from edgegd.recipe.paths import project_folder, recipes_folder, resolve_path
from edgegd.recipe.shipped import copy_recipe, find_recipe, shipped_recipes

PROMISED = {
    "streets/yolo26n",
    "streets/yolo26n-float",
    "bccd/yolo26n",
    "bccd/yolo11n",
    "coco/yolo26n",
    "kitti/yolo26n",
    "brain-tumor/yolo26n",
    "bccd/yolo26n-relu",
    "bccd/yolo26n-auto",
    "streets/yolo26n-relu",
}


def test_every_promised_recipe_ships() -> None:
    assert {recipe.name for recipe in shipped_recipes()} >= PROMISED


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_shipped_recipe_is_valid_and_says_how_to_run_it(name: str) -> None:
    recipe, path = load_recipe(name), find_recipe(name)
    header = path.read_text(encoding="utf-8").split("\nversion:")[0]
    assert all(line.startswith("#") for line in header.splitlines())
    assert f"edgegd run recipes/{name}.yaml --run-dir " in header
    assert recipe.description and "\n" not in recipe.description
    assert recipe.model.imgsz % 32 == 0


def header_of(path: Path) -> str:
    """The header's text, without the comment signs and with continued lines joined."""
    header = path.read_text(encoding="utf-8").split("\nversion:")[0]
    return re.sub(r"\s*\\\n\s*", " ", "\n".join(line.removeprefix("#").strip() for line in header.splitlines()))


@pytest.mark.parametrize(
    "path", sorted(recipes_folder().rglob("*.yaml")), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_every_command_line_of_a_header_is_valid(path: Path) -> None:
    header = header_of(path)
    commands = re.findall(r"^edgegd (.+)$", header, flags=re.M)
    assert commands, "a header says how the recipe is run"
    for command in commands:
        name, *arguments = shlex.split(command)
        parameters = edgegd.commands[name].make_context(name, arguments).params  # as click reads them
        assert find_recipe(parameters["recipe"]) == path
        recipe = load_recipe(parameters["recipe"], parameters["overrides"])
        asks_for_gpu = "train.device=0" in parameters["overrides"]
        assert recipe.train.device == ("cuda:0" if asks_for_gpu else "cpu")
    for override in re.findall(r"--set ([^\s`]+)", header):
        load_recipe(path, [override])


def test_the_documented_gpu_command_is_among_them() -> None:
    assert sum("--set train.device=0" in header_of(path) for path in recipes_folder().rglob("*.yaml")) >= 4


def test_bccd_recipe_takes_a_local_copy_and_checkpoint() -> None:
    recipe = load_recipe("bccd/yolo26n", ["model.weights=../mine.pt", "data.path=../bccd"])
    assert (recipe.model.weights, recipe.data.path, recipe.data.source) == ("../mine.pt", "../bccd", "bccd")


def test_demo_draws_a_part_of_the_float_recipes_images() -> None:
    demo, full = load_recipe("streets/yolo26n").data, load_recipe("streets/yolo26n-float").data
    assert (demo.seed, demo.val_images) == (full.seed, full.val_images)
    assert 0 < demo.train_images <= full.train_images  # image k depends on the seed and k alone
    assert demo.path != full.path, "one folder cannot hold two sizes of the set"


@pytest.mark.parametrize("spelling", ["bccd/yolo26n", "bccd/yolo26n.yaml", "recipes/bccd/yolo26n.yaml"])
def test_recipe_is_found_by_name_from_any_folder(
    spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_recipe(spelling) == recipes_folder() / "bccd/yolo26n.yaml"


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(RecipeNotFoundError, match="did you mean bccd/yolo26n") as caught:
        find_recipe("bccd/yolo26")
    assert caught.value.exit_code == 11


def test_copy_is_identical_and_refuses_to_overwrite(tmp_path: Path) -> None:
    copied = copy_recipe("bccd/yolo26n", tmp_path / "new" / "mine.yaml")
    assert copied.read_bytes() == find_recipe("bccd/yolo26n").read_bytes()
    copied.write_text("mine")
    with pytest.raises(WouldOverwriteError):
        copy_recipe("bccd/yolo26n", copied)
    assert copied.read_text() == "mine"
    assert copy_recipe("coco/yolo26n", tmp_path) == tmp_path / "yolo26n.yaml"


def test_relative_paths_are_the_working_directorys_then_the_projects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = "recipes/coco/yolo26n.yaml"
    assert resolve_path(shipped) == project_folder() / shipped
    (tmp_path / "recipes/coco").mkdir(parents=True)
    (tmp_path / shipped).write_text("mine")
    assert resolve_path(shipped) == tmp_path / shipped
    assert resolve_path("absent.pt") == tmp_path / "absent.pt"
