"""The README: its tables are those of committed benchmarks, its commands exist, its examples run."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = ROOT / "benchmarks/results"


def _between(start: str, end: str) -> str:
    return README.split(f"<!-- {start} -->\n")[1].split(f"<!-- {end} -->")[0].strip()


def _block(language: str) -> str:
    return README.split(f"```{language}\n")[1].split("```")[0]


def test_demo_table_is_that_of_the_committed_report() -> None:
    pytest.importorskip("tabulate")
    from edgegd.report.markdown import summary_table

    report = json.loads((RESULTS / "demo.json").read_text())
    assert _between("demo table", "end of demo table") == summary_table(report, "github")
    machine = report["latency_conditions"]["fingerprint"]
    assert machine["cpu"] in README and f"onnxruntime {machine['onnxruntime']}" in README


def test_every_command_is_documented() -> None:
    from edgegd.cli.main import edgegd

    for name, command in edgegd.commands.items():
        assert f"`edgegd {name}" in README, name
        if isinstance(command, click.Group):
            for sub in command.commands:
                assert re.search(rf"`(edgegd {name} )?{sub}\b", README), f"{name} {sub}"


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"`make ([a-z]+)", README)) | set(re.findall(r"^    make ([a-z]+)", README, re.M))
    assert {"demo", "test", "bench", "qat"} <= targets
    for target in targets:
        assert re.search(rf"^[a-z ]*\b{target}\b[a-z ]*:", makefile, re.M), target


def test_linked_files_exist() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).exists(), link


def test_recipe_commands_run(
    edgegd_command: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line.split("#")[0].split()[1:] for line in README.splitlines() if line.startswith("    edgegd recipe")]
    assert len(lines) == 2
    for arguments in lines:
        outcome = edgegd_command(*arguments)
        assert outcome.code == 0, outcome  # type: ignore[attr-defined]
    assert (tmp_path / "my.yaml").is_file()


def test_smallest_recipe_is_valid() -> None:
    from edgegd.recipe.load import parse_recipe

    recipe = parse_recipe(_block("yaml"))
    assert (recipe.model.weights, recipe.data.path) == ("best.pt", "my-data.yaml")


def test_detector_example_runs(
    finished_run: Path,
    tiny_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(finished_run / "qat.edge.onnx", "qat.edge.onnx")
    shutil.copyfile(next((tiny_set / "images/val").iterdir()), "street.jpg")
    exec(compile(_block("python"), "README.md", "exec"), {})
    assert "[[" in capsys.readouterr().out
