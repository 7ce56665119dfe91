"""The Python API: the examples of docs/api.md run, overrides are those of --set, and importing edgegd stays light."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import edgegd
from edgegd.errors import (
    EdgegdError,
    MissingArtifactError,
    MissingExtraError,
    RecipeError,
    RecipeNotFoundError,
    RunFolderMismatchError,
)
from edgegd.recipe.load import load_recipe

PAGE = Path(__file__).resolve().parents[1] / "docs/api.md"


@pytest.fixture
def place(
    finished_run: Path, tiny_recipe: Path, tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A working folder as the page assumes it: a recipe, a finished run of it, an image, and files of a device."""
    monkeypatch.chdir(tmp_path)
    recipe = Path(shutil.copyfile(tiny_recipe, tmp_path / "my.yaml"))
    run = Path(shutil.copytree(finished_run, tmp_path / "runs/mine"))
    identity = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(identity | {"recipe": str(recipe)}))
    for name in ("qat.onnx", "qat.edge.onnx"):
        shutil.copyfile(run / name, name)
    shutil.copyfile(next((tiny_set / "images/val").iterdir()), "street.jpg")
    return tmp_path


def test_the_examples_of_the_page_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 8
    names: dict[str, Any] = {}
    for number, example in enumerate(examples):
        exec(compile(example, f"docs/api.md, example {number}", "exec"), names)
    out, err = capsys.readouterr()
    assert set(names["result"].stages) == set()  # the last one was opened, not run
    assert "INT8 QAT, edge file" in out and "points of mAP50-95" in out and "'xyxy'" in out
    assert "did you mean train.epochs" in out and not Path("runs/other").exists()
    assert "qat: unchanged, skipped" in err
    assert Path("drawn.png").is_file() and names["timings"].inference_ms > 0


def test_a_finished_run_is_read_as_its_report_says(finished_run: Path) -> None:
    result = edgegd.open_run(finished_run)
    report = json.loads((finished_run / "report.json").read_text())
    assert result.report == report and result.run_dir == finished_run
    assert result.ship is not None and result.ship.model == report["ship"]["model"]
    assert (result.ship.why, list(result.ship.interval)) == (report["ship"]["why"], report["ship"]["interval"])
    assert result.model == finished_run / f"{result.ship.model}.edge.onnx" and result.model.is_file()
    assert result.file("fp32") == finished_run / "fp32.onnx"
    with pytest.raises(KeyError):
        result.file("fp32", edge=True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.run_dir = Path()  # type: ignore[misc]
    assert "| INT8 QAT" in result._repr_markdown_() and result.ship.why in result._repr_markdown_()


def test_a_run_until_a_stage_takes_the_overrides(
    tiny_recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"train": {"epochs": 3, "lr0": 1e-05}, "quant.calibration_images": np.int64(3), "model.imgsz": (64, 96)}
    result = edgegd.run_recipe(tiny_recipe, tmp_path / "run", set=values, until="data", progress=False)
    assert (result.stages, result.report, result.ship, result.model) == ({"data": "ran"}, None, None, None)
    assert result.table() == "data: ran" and "data: ran" in result._repr_markdown_()
    kept = load_recipe(tmp_path / "run/recipe.yaml")
    assert (kept.train.epochs, kept.train.lr0, kept.train.batch) == (3, 1e-05, 4), "batch stays the recipe's"
    assert (kept.quant.calibration_images, kept.model.imgsz) == (3, (64, 96))
    assert capsys.readouterr() == ("", "")
    again = edgegd.run_recipe(str(tiny_recipe), str(tmp_path / "run"), set=values, until="data")
    assert again.stages == {"data": "unchanged"} and "data: unchanged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "key", "expected"),
    [
        ({"description": "1.10"}, "description", "1.10"),
        ({"data.path": Path("a b/c.yaml")}, "data.path", "a b/c.yaml"),
        ({"train.lr0": np.float32(0.5)}, "train.lr0", 0.5),
        ({"quant.float": ["model.0:*", "a: b"]}, "quant.float", ["model.0:*", "a: b"]),
        ({"export.opset": 18, "train.weight_decay": 0}, "export.opset", 18),
    ],
)
def test_every_kind_of_value_arrives_as_it_is(values: dict[str, Any], key: str, expected: Any) -> None:
    from edgegd.api import _overrides

    text = dict(one.split("=", 1) for one in _overrides(values))[key]
    assert yaml.safe_load(text) == expected and type(yaml.safe_load(text)) is type(expected)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"recipe": "no/such"}, RecipeNotFoundError, "no recipe"),
        ({"set": {"train.epochs": -1}}, RecipeError, "train.epochs"),
        ({"set": {"train": {"nosuch": 1}}}, RecipeError, "train.nosuch: unknown key"),
        ({"set": {"train.epochs": object()}}, RecipeError, r"set\['train.epochs'\]"),
        ({"until": "nosuch"}, ValueError, "one of data, float"),
    ],
    ids=["recipe", "value", "key", "object", "stage"],
)
def test_a_mistake_is_one_error_and_leaves_nothing(
    tiny_recipe: Path, tmp_path: Path, arguments: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        edgegd.run_recipe(**{"recipe": tiny_recipe, "run_dir": tmp_path / "run"} | arguments)
    assert not (tmp_path / "run").exists()


def test_folders_that_are_no_runs_and_damaged_reports(run_copy: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFolderMismatchError):
        edgegd.open_run(tmp_path / "nothing")
    (run_copy / "report.json").write_text('{"ship": {"model": "qat"}}')
    with pytest.raises(MissingArtifactError, match=r"report\.json"):
        edgegd.open_run(run_copy)
    (run_copy / "report.json").unlink()
    assert edgegd.open_run(run_copy).report is None


def test_importing_edgegd_is_light_and_its_names_are_lazy() -> None:
    script = (
        "import sys, edgegd; assert 'run_recipe' in dir(edgegd);"
        "light = {'torch', 'ultralytics', 'onnxruntime', 'numpy', 'yaml', 'edgegd.api'} & set(sys.modules);"
        "assert not light, light; edgegd.run_recipe;"
        "heavy = {'torch', 'ultralytics', 'onnx'} & set(sys.modules); assert not heavy, heavy\n"
        "try:\n    edgegd.nosuch\nexcept AttributeError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "has no attribute 'nosuch'" in done.stdout


def test_without_the_extra_the_error_says_what_to_install(tiny_recipe: Path, tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None; import edgegd\n"
        f"try:\n    edgegd.run_recipe({str(tiny_recipe)!r}, {str(tmp_path / 'run')!r})\n"
        "except edgegd.errors.EdgegdError as error:\n    print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert done.stdout.startswith(MissingExtraError.__name__) and "edgegd[train]" in done.stdout, done
    assert not (tmp_path / "run").exists()
    assert issubclass(MissingExtraError, EdgegdError)
