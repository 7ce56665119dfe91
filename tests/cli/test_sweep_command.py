"""`edgegd sweep` as a command: what it refuses before anything runs. Oracle: exit codes and messages."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgegd.errors import MissingExtraError, RecipeNotFoundError

RANGE = ("--set", "train.lr0=log:1e-5..1e-3")


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.yaml").write_text("version: 1\ndata: {path: my-set.yaml}\n")
    return "my.yaml"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("other.yaml",), "need --recipes"),
        (("--seeds", "0,1"), "need --recipes"),
        (("--recipes", "--seeds", "0,x"), "whole numbers between commas"),
        (("--recipes", "--seeds", "1,1"), "a seed is there twice"),
        (("--trials", "0"), "0 is not in the range"),
        (("--jobs", "0"), "0 is not in the range"),
        (("--engine", "slurm"), "'slurm' is not one of"),
    ],
)
def test_an_impossible_command_line(
    edgegd_command: Callable[..., Any], recipe: str, tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    outcome = edgegd_command("sweep", recipe, *options)
    assert outcome.code == 2 and told in outcome.err
    assert [one.name for one in tmp_path.iterdir()] == ["my.yaml"]


@pytest.mark.parametrize(
    ("module", "options", "extra"),
    [("optuna", (), "edgegd[train,sweep]"), ("ray", ("--engine", "ray"), "edgegd[train,sweep,ray]")],
)
def test_an_extra_that_is_not_installed(
    edgegd_command: Callable[..., Any],
    recipe: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    options: tuple[str, ...],
    extra: str,
) -> None:
    if module != "optuna":
        pytest.importorskip("optuna")
    for name in [one for one in sys.modules if one.startswith("edgegd.pipeline.sweep")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    outcome = edgegd_command("sweep", recipe, *RANGE, *options)
    assert outcome.code == MissingExtraError.exit_code, outcome.err
    assert f"needs the package {module}" in outcome.err and extra in outcome.err
    assert [one.name for one in tmp_path.iterdir()] == ["my.yaml"]


def test_a_recipe_that_is_not_there(edgegd_command: Callable[..., Any], recipe: str) -> None:
    assert edgegd_command("sweep", "--recipes", recipe, "bcd/yolo26n").code == RecipeNotFoundError.exit_code
