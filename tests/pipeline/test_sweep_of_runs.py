"""A sweep of real runs of the tiny recipe by its command: stages that nothing varied touches are made once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna")

from edgegd.pipeline.artifacts import QAT_STATE
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stage import require_current


@pytest.fixture(scope="module")
def swept(tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of a search of two trials, and what it printed."""
    folder = tmp_path_factory.mktemp("sweep") / "made"
    options = ["--set", "train.lr0=log:1e-5..1e-3", "--set", "train.epochs=1", "--set", "quant.refine=none"]
    objective = ["--objective", "descent.best_map50_95", "--trials", "2", "--sweep-dir", str(folder), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "edgegd.cli.main", "sweep", str(tiny_recipe), *options, *objective],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return folder, json.loads(done.stdout)


@pytest.mark.training
def test_the_float_model_and_the_calibration_are_made_once(swept: tuple[Path, dict[str, Any]]) -> None:
    folder, result = swept
    ran = json.loads((folder / "logs/shared-recipe.json").read_text())["stages"]
    assert ran == {"data": "ran", "float": "ran", "ptq": "ran"}
    for number in range(2):
        stages = json.loads((folder / f"logs/{number:04d}.json").read_text())["stages"]
        assert stages == {"data": "unchanged", "float": "unchanged", "ptq": "unchanged", "qat": "ran"}
        trial = folder / f"trials/{number:04d}/float.pt"
        assert trial.samefile(folder / "shared/recipe/float.pt")  # linked: it takes no space
    assert [one["state"] for one in result["trials"]] == ["complete"] * 2
    assert result["own"] == 0


@pytest.mark.training
def test_a_trial_is_an_ordinary_run_folder(
    swept: tuple[Path, dict[str, Any]], edgegd_command: Callable[..., Any]
) -> None:
    folder, result = swept
    for number, trial in enumerate(result["trials"]):
        run = RunFolder.open_existing(folder / f"trials/{number:04d}")
        assert run.recipe.train.lr0 == trial["values"]["train.lr0"]
        require_current(run, QAT_STATE)
        descent = json.loads((run.path / "descent.json").read_text())
        assert trial["objectives"] == [descent["best_map50_95"]]
        assert trial["by_epoch"] == {"1": descent["epochs"][0]["map50_95"]}
    assert edgegd_command("descent", "diagnose", folder / "trials/0001").code == 0
