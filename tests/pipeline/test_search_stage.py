"""Runs with a precision budget, measured by real onnxruntime; oracle: the plan that ptq writes, the files left."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
pytest.importorskip("scipy")
IMAGES = ("--set", "precision.images=2")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def searched_run(tiny_recipe: Path, edgegd_command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run up to ptq with the fastest plan of a search."""
    folder = tmp_path_factory.mktemp("runs") / "searched"
    outcome = edgegd_command(
        "run", tiny_recipe, "--run-dir", folder, "--until", "ptq", *IMAGES, "--set", "precision.head_db=0"
    )
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines() == ["data: ran", "float: ran", "search: ran", "ptq: ran"]
    return folder


@pytest.fixture
def searched(searched_run: Path, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    return Path(shutil.copytree(searched_run, tmp_path / "run", symlinks=True))


def read(folder: Path, name: str = "precision.json") -> Any:
    return json.loads((folder / name).read_text())


def chosen(result: Any) -> Any:
    (point,) = [point for point in result["points"] if point["name"] == result["chosen"]]
    return point


def set_budget(folder: Path, text: str) -> None:
    """Changes the run's own recipe."""
    recipe = folder / "recipe.yaml"
    old = recipe.read_text()
    assert "  head_db: 0.0\n" in old
    recipe.write_text(old.replace("  head_db: 0.0\n", text))


def test_ptq_takes_the_fastest_plan(searched: Path) -> None:
    result = read(searched)
    point = chosen(result)
    assert point["measured_ms"] == min(p["measured_ms"] for p in result["points"])
    ops = {op["address"]: op["decision"] for op in read(searched, "plan.json")["ops"]}
    units = [unit["addresses"] for unit in result["operations"]]
    kept = set(point["float_addresses"])
    assert sum(1 for unit in units if not kept & set(unit)) == point["integer_operations"]
    for unit in units:
        assert all((ops[address] == "float") == (address in kept) for address in unit)


def test_what_is_kept_of_a_search(searched: Path) -> None:
    result = read(searched)
    rules, *front = result["points"]
    assert rules["name"] == "rules" and not rules["float_addresses"] and len(front) >= 2
    predicted = [point["predicted_ms"] for point in front]
    assert predicted == sorted(predicted) and predicted[0] <= rules["predicted_ms"] + 1e-6
    assert [p["predicted_db"] for p in front] == sorted(p["predicted_db"] for p in front)
    assert front[-1]["head_db"] > rules["head_db"]  # run as a whole, not summed
    assert all(p["measured_ms"] > 0 and p["ratio"] > 0 for p in result["points"])
    assert all(unit["integer_ms"] >= 0 <= unit["float_ms"] for unit in result["operations"])
    assert {unit["head_db"] > 0 for unit in result["operations"]} == {True}
    assert result["fingerprint"]["cpu"] and len(result["images"]) == 2


def test_another_budget_takes_another_plan_of_the_same_front(
    searched: Path, edgegd_command: Command, tiny_recipe: Path
) -> None:
    before, plan = read(searched), (searched / "plan.json").read_bytes()
    outcome = edgegd_command(
        "run", tiny_recipe, "--run-dir", searched, "--until", "ptq", *IMAGES, "--set", "precision.latency_ratio=1000"
    )
    assert outcome.code == 0 and "the measured front is kept" in outcome.err
    after = read(searched)
    assert after["points"] == before["points"]
    assert chosen(after)["head_db"] == max(point["head_db"] for point in after["points"])
    assert (searched / "plan.json").read_bytes() != plan


def test_a_budget_that_no_plan_meets_changes_nothing_but_the_search(
    searched: Path, edgegd_command: Command, contents: Callable[[Path], Mapping[str, bytes]]
) -> None:
    set_budget(searched, "  head_db: 300.0\n")
    before = contents(searched)
    outcome = edgegd_command("search", searched)
    after = contents(searched)
    best = max(read(searched)["points"], key=lambda point: point["head_db"])
    assert outcome.code == 67 and not outcome.out
    assert f"the nearest is {best['name']}: " in outcome.err
    assert read(searched)["chosen"] is None and read(searched)["nearest"] == best["name"]
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert changed - {".lock"} == {"precision.json", "manifests/search.json"}
    error = json.loads(edgegd_command("search", searched, "--json").out)
    assert error["error"] == "PrecisionBudgetError" and error["exit_code"] == 67


def test_a_plan_searched_on_another_device_is_told(
    searched: Path, edgegd_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgegd.pipeline.stages import search

    was = search.fingerprint()
    assert "another device" not in edgegd_command("ptq", searched, "--force").err
    monkeypatch.setattr(search, "fingerprint", lambda: was | {"cpu": "Cortex-A76", "architecture": "aarch64"})
    outcome = edgegd_command("ptq", searched, "--force")
    assert outcome.code == 0 and "warning: the plan was searched on another device" in outcome.err
    assert f"searched on: {was['cpu']} ({was['architecture']}" in outcome.err
    assert "this device: Cortex-A76 (aarch64" in outcome.err and "edgegd search --force" in outcome.err


def test_the_front_is_a_table_and_json(searched: Path, edgegd_command: Command) -> None:
    result = read(searched)
    shown = edgegd_command("search", searched)
    assert shown.code == 0 and "search: unchanged, skipped" in shown.err
    lines = {line.split()[0]: line for line in shown.out.splitlines() if line}
    for point in result["points"]:
        assert f"{point['measured_ms']:.2f}" in lines[point["name"]]
        assert lines[point["name"]].rstrip().endswith("chosen") is (point["name"] == result["chosen"])
    assert result["fingerprint"]["cpu"] in shown.out
    assert json.loads(edgegd_command("search", searched, "--json").out) == result


def test_ptq_wants_the_search_that_its_budget_needs(run_copy: Path, edgegd_command: Command) -> None:
    recipe = run_copy / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("  head_db: null\n", "  head_db: 20.0\n"))
    outcome = edgegd_command("ptq", run_copy)
    assert outcome.code == 53 and "edgegd search " in outcome.err


def test_a_plan_of_ones_own_leaves_nothing_to_search(searched: Path, edgegd_command: Command, tmp_path: Path) -> None:
    own = shutil.copy(searched / "plan.json", tmp_path / "own.json")
    recipe = searched / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("  plan: ''\n", f"  plan: {own}\n"))
    outcome = edgegd_command("search", searched)
    assert outcome.code == 62 and "nothing to search" in outcome.err
