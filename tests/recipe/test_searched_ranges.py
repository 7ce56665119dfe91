"""Ranges of recipe keys as text. Oracle: what each text must mean, and the recipe's own messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgegd.errors import RecipeError
from edgegd.recipe.ranges import Choices, Numbers, Space, own_point, parse_space


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "my.yaml"
    path.write_text("version: 1\ndata: {path: my-set.yaml}\ntrain: {lr0: 1.0e-4, epochs: 5}\n")
    return path


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ("train.lr0=log:1e-5..1e-3", Numbers(1e-5, 1e-3, False, True)),
        ("train.lr0=0..0.5", Numbers(0, 0.5)),
        ("train.epochs=3..10", Numbers(3, 10, True)),
        ("train.epochs=log:int:1..100", Numbers(1, 100, True, True)),
        ("train.warmup_epochs=int:0..2", Numbers(0, 2, True)),
        ("quant.observer=mse, percentile", Choices(("mse", "percentile"))),
        ("train.amp=true,false", Choices(("true", "false"))),
        ("model.imgsz=[256, 320],[320, 320],640", Choices(("[256, 320]", "[320, 320]", "640"))),
        ("train.bias_lr=null,1e-4", Choices(("null", "1e-4"))),
    ],
)
def test_a_range(recipe: Path, setting: str, found: object) -> None:
    key = setting.partition("=")[0]
    assert parse_space(recipe, [setting]) == Space({key: found}, ())  # type: ignore[dict-item]


def test_values_without_a_range_hold_everywhere(recipe: Path) -> None:
    space = parse_space(recipe, ["train.epochs=2", 'description="a, b"', "data.path=../x.yaml", "train.lr0=1e-5..1e-4"])
    assert space.fixed == ("train.epochs=2", 'description="a, b"', "data.path=../x.yaml")
    assert list(space.ranges) == ["train.lr0"]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("train.lr=1..2", "unknown key; did you mean train.lr"),
        ("train.lr0=log:0..1", "begins above 0"),
        ("train.lr0=2..1", "the range is empty"),
        ("train.lr0=1..1", "the range is empty"),
        ("train.lr0=1..", "two numbers"),
        ("train.lr0=log:3", "two numbers"),
        ("train.lr0=lg:1..2", "lg: is not known"),
        ("train.lr0=log:log:1..2", "is not known"),
        ("train.epochs=1.5..3", "whole numbers"),
        ("train.epochs=0..3", "at least 1"),
        ("train.lrf=0.5..1.5", "at most 1"),
        ("quant.observer=mse,percentil", "did you mean percentile"),
        ("quant.observer=mse,,minmax", "is missing"),
        ("quant.observer=mse,mse", "twice"),
        ("train.lr0", "expected section.key=value"),
    ],
)
def test_a_range_that_is_refused(recipe: Path, setting: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        parse_space(recipe, [setting])


def test_a_key_given_twice(recipe: Path) -> None:
    with pytest.raises(RecipeError, match="given twice"):
        parse_space(recipe, ["train.lr0=1..2", "train.lr0=3"])


def test_points_are_counted(recipe: Path) -> None:
    assert parse_space(recipe, ["train.epochs=3..10", "quant.observer=mse,minmax"]).count == 16
    assert parse_space(recipe, ["train.lr0=1..2", "quant.observer=mse,minmax"]).count is None


def test_the_recipes_own_point(recipe: Path) -> None:
    space = parse_space(recipe, ["train.lr0=log:1e-5..1e-3", "quant.observer=minmax,mse", "train.epochs=1..5"])
    assert own_point(recipe, space) == {"train.lr0": 1e-4, "quant.observer": "mse", "train.epochs": 5}
    assert own_point(recipe, parse_space(recipe, ["train.lr0=log:1e-3..1e-2"])) is None
    assert own_point(recipe, parse_space(recipe, ["quant.observer=minmax,entropy"])) is None
    assert own_point(recipe, parse_space(recipe, ["train.warmup_epochs=int:0..3"])) is None  # 0.5 is no whole number
