"""README and docs/: short where they should be, their tables, links, commands and examples hold."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import yaml
from command_lines import commands_of, refuse_unknown_make_targets, refuse_unknown_options

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs/guide.md").read_text(encoding="utf-8")
PAGES = [
    ROOT / "README.md",
    ROOT / "SECURITY.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
GENERATED = {"cli.md", "errors.md", "recipes.md"}  # tests/cli/test_document.py
ids = {"ids": lambda page: page.name}


def _block(language: str, text: str = README) -> str:
    return text.split(f"```{language}\n")[1].split("```")[0]


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_demo_table_is_that_of_the_committed_report() -> None:
    pytest.importorskip("tabulate")
    from edgegd.report.markdown import summary_table

    report = json.loads((ROOT / "benchmarks/results/demo.json").read_text())
    results = (ROOT / "docs/results.md").read_text()
    machine = report["latency_conditions"]["fingerprint"]
    assert summary_table(report, "github") in results
    assert machine["cpu"] in results and f"onnxruntime {machine['onnxruntime']}" in results


def test_every_command_is_documented() -> None:
    from edgegd.cli.main import edgegd

    for name, command in edgegd.commands.items():
        assert f"`edgegd {name}" in GUIDE, name
        if isinstance(command, click.Group):
            for sub in command.commands:
                assert re.search(rf"`(edgegd {name} )?{sub}\b", GUIDE), f"{name} {sub}"


@pytest.mark.parametrize("page", PAGES, **ids)
def test_commands_and_their_options_exist(page: Path) -> None:
    for arguments in commands_of(page.read_text(encoding="utf-8")):
        refuse_unknown_options(arguments)


def test_a_command_that_does_not_exist_is_noticed() -> None:
    assert list(commands_of("    edgegd run a.yaml --set x=1   # a comment\n      - run: edgegd gate b")) == [
        ["run", "a.yaml", "--set", "x=1"],
        ["gate", "b"],
    ]
    for arguments in (["gate", "m.onnx", "--no-such-option"], ["nosuch"], ["baseline", "set", "--nosuch"]):
        with pytest.raises(click.UsageError):
            refuse_unknown_options(arguments)


@pytest.mark.parametrize("page", PAGES, **ids)
def test_make_targets_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"`make ([a-z0-9-]+)", text)) | set(re.findall(r"^    make ([a-z0-9-]+)", text, re.M))
    if page.name == "guide.md":
        assert {"demo", "test", "bench", "qat", "quick"} <= targets
    refuse_unknown_make_targets(targets)


def test_ci_runs_the_test_command_of_the_readme() -> None:
    assert "`make test`" in README
    assert re.search(r"^make test\b", (ROOT / ".ci/run").read_text(), re.M)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in GENERATED], **ids)
def test_linked_files_and_headings_exist(page: Path) -> None:
    for link, anchor in re.findall(r"\]\(([^)#\s]*)(#[^)\s]+)?\)", page.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        target = page.parent / link if link else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.M)
            assert anchor[1:] in {re.sub(r"[^a-z0-9 -]", "", one.lower()).replace(" ", "-") for one in headings}, anchor


def test_every_page_is_reached_from_the_readme() -> None:
    for page in (ROOT / "docs").glob("*.md"):
        assert f"docs/{page.name})" in README, page.name


@pytest.mark.parametrize("text", [README, GUIDE], ids=["README.md", "guide.md"])
def test_recipe_commands_run(
    text: str, edgegd_command: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [arguments for arguments in commands_of(text) if arguments[0] == "recipe"]
    assert len(lines) == 2
    for arguments in lines:
        outcome = edgegd_command(*arguments)
        assert outcome.code == 0, outcome  # type: ignore[attr-defined]
    assert (tmp_path / "my.yaml").is_file()


@pytest.mark.parametrize("text", [README, GUIDE], ids=["README.md", "guide.md"])
def test_smallest_recipe_is_valid(text: str) -> None:
    from edgegd.recipe.load import parse_recipe

    recipe = parse_recipe(
        next(block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if block.startswith("version"))
    )
    assert (recipe.model.weights, recipe.data.path) == ("best.pt", "my-data.yaml")


@pytest.mark.parametrize("page", PAGES, **ids)
def test_yaml_examples_can_be_read(page: Path) -> None:
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        assert isinstance(yaml.safe_load(block), dict), block


@pytest.mark.parametrize("page", ["README.md", "docs/device.md"])
def test_detector_example_runs(
    page: str,
    finished_run: Path,
    tiny_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(finished_run / "qat.edge.onnx", "qat.edge.onnx")
    shutil.copyfile(next((tiny_set / "images/val").iterdir()), "street.jpg")
    exec(compile(_block("python", (ROOT / page).read_text()), page, "exec"), {})
    assert "[[" in capsys.readouterr().out
