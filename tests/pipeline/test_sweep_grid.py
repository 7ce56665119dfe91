"""Recipes over seeds whose runs are played (tests/played_run.py). Oracle: the means of what is played."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgegd.errors import RecipeError, RunFolderMismatchError, SweepError
from edgegd.pipeline.sweep import shared
from edgegd.pipeline.sweep.engines import engine_maker
from edgegd.pipeline.sweep.grid import GridRequest, grid
from edgegd.progress import Silent

PLAYED = (sys.executable, "-S", str(Path(__file__).parents[1] / "played_run.py"))
BEST = "descent.best_map50_95"
HALF = 4.302653 * 0.01 / 3**0.5  # of the interval of three values that are 0.01 apart


@pytest.fixture
def recipes(tmp_path: Path) -> list[str]:
    paths = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for path in paths:
        path.write_text("version: 1\ndata: {path: my-set.yaml}\n")
    return [str(path) for path in paths]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    monkeypatch.setattr(shared, "shared_stages", lambda *_: [])

    def run(
        recipes: list[str], *settings: str, seeds: tuple[int, ...] = (0, 1, 2), objectives: tuple[str, ...] = (BEST,)
    ) -> dict[str, Any]:
        request = GridRequest(recipes, seeds, settings, objectives, PLAYED)
        make = engine_maker("local", "auto", 2, 1, objectives, Silent())
        return grid(request, tmp_path / "grid", make, Silent())[1]

    return run


def test_means_and_paired_differences(run: Callable[..., dict[str, Any]], recipes: list[str], tmp_path: Path) -> None:
    result = run(recipes, "train.lr0=1e-3", objectives=(BEST, "size.ptq.edge"))
    assert [(one["name"], one["state"]) for one in result["runs"]] == [
        (f"{name}-seed{seed}", "complete") for name in "ab" for seed in range(3)
    ]
    first, second = result["rows"]
    assert first["means"][BEST] == pytest.approx({"value": 0.41, "low": 0.41 - HALF, "high": 0.41 + HALF, "count": 3})
    assert second["differences"][BEST] == pytest.approx({"value": 0, "low": 0, "high": 0, "count": 3}, abs=1e-12)
    assert first["differences"][BEST] is None and first["means"]["size.ptq.edge"]["value"] == 1
    text = (tmp_path / "grid/sweep.md").read_text()
    assert "| a        | 3       | 41.00 [38.52, 43.48]" in text and "which seeds alone could give" in text


def test_runs_that_finished_are_kept(run: Callable[..., dict[str, Any]], recipes: list[str], tmp_path: Path) -> None:
    run(recipes, seeds=(0, 1))
    assert len(run(recipes, seeds=(0, 1, 2))["runs"]) == 6  # more seeds: only what is missing runs
    counted = [len(one.read_text().split()) for one in tmp_path.glob("grid/trials/*/starts.txt")]
    assert counted == [1] * 6
    with pytest.raises(RunFolderMismatchError, match="another sweep: recipes is not the same"):
        run(recipes[:1])


def test_a_result_that_is_damaged(run: Callable[..., dict[str, Any]], recipes: list[str], tmp_path: Path) -> None:
    run(recipes[:1], seeds=(0,))
    for damaged in ("[", "[]", '{"runs": [1]}'):
        (tmp_path / "grid/sweep.json").write_text(damaged)
        with pytest.raises(RunFolderMismatchError, match=r"sweep\.json is damaged"):
            run(recipes[:1], seeds=(0,))


def test_runs_that_failed_are_tried_again(
    run: Callable[..., dict[str, Any]], recipes: list[str], tmp_path: Path
) -> None:
    for _ in range(2):
        with pytest.raises(SweepError, match=r"(?s)Every run failed.*the first error: The rate 0.6 is too high"):
            run(recipes[:1], "train.lr0=0.6", seeds=(0,))
    assert len((tmp_path / "grid/trials/a-seed0/starts.txt").read_text().split()) == 2


def test_what_a_grid_refuses(run: Callable[..., dict[str, Any]], recipes: list[str], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="takes single values"):
        run(recipes, "train.lr0=1..2")
    with pytest.raises(RecipeError, match="takes single values"):
        run(recipes, "train.seed=3")
    with pytest.raises(RecipeError, match="given twice"):
        run([recipes[0], recipes[0]])
    assert not (tmp_path / "grid").exists()
