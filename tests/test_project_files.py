"""The files around the code: workflows, issue forms, citation, addresses and packaging fit each other and the code."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_lines import commands_of, refuse_unknown_make_targets, refuse_unknown_options

import edgegd

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("[0-9]*.yml"))
YAML_FILES = [
    *WORKFLOWS,
    *(ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"),
    ROOT / ".pre-commit-config.yaml",
    ROOT / "CITATION.cff",
    *sorted((ROOT / "recipes").rglob("*.yaml")),
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
ids = {"ids": lambda path: path.name}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_yaml_file_is_a_mapping(path: Path) -> None:
    assert isinstance(read(path), dict)


def steps_of(workflow: Any) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, **ids)
def test_what_a_workflow_runs_exists(path: Path) -> None:
    workflow = read(path)
    runs = [line for step in steps_of(workflow) for line in step.get("run", "").splitlines()]
    assert runs and True in workflow, "`on:` is the boolean true in YAML 1.1"
    refuse_unknown_make_targets(match[1] for line in runs if (match := re.match(r"make ([a-z0-9-]+)", line)))
    for arguments in commands_of("\n".join(f"run: {line}" for line in runs)):
        refuse_unknown_options(arguments)
    for line in runs:
        assert re.match(r"(make|sudo apt-get|edgegd|pip) ", line), f"{line}: keep workflows to make targets"
    for step in steps_of(workflow):
        assert ("run" in step) != ("uses" in step) and re.fullmatch(
            r"actions/[a-z-]+@v\d+", step.get("uses", "actions/x@v1")
        )
    for job in workflow["jobs"].values():
        for runner in job.get("strategy", {}).get("matrix", {}).get("runner", [job["runs-on"]]):
            assert runner in ("ubuntu-24.04", "ubuntu-24.04-arm")


def test_workflows_run_what_the_project_promises() -> None:
    workflows = {path.stem: read(path) for path in WORKFLOWS}
    matrix = workflows["tests"]["jobs"]["quick"]["strategy"]["matrix"]
    assert matrix == {"runner": ["ubuntu-24.04", "ubuntu-24.04-arm"], "python": ["3.10", "3.13"]}
    assert workflows["nightly"][True]["schedule"] and "pull_request" in workflows["tests"][True]
    commands = {name: [step.get("run", "") for step in steps_of(flow)] for name, flow in workflows.items()}
    assert {"make lint", "make check-docs", "make quick"} <= set(commands["tests"])
    assert "make test" in commands["nightly"] and "make build" in commands["build"]
    recipe = (ROOT / "Makefile").read_text().split("\nbuild:\n")[1].split("\n\n")[0]
    for part in ("-m build", "twine check --strict", "dist/*.whl", "edgegd --version", "edgegd doctor"):
        assert part in recipe, part


@pytest.mark.parametrize("path", FORMS, **ids)
def test_issue_forms_ask_for_the_doctor(path: Path) -> None:
    form = read(path)
    assert {"name", "description", "body"} <= form.keys()
    assert len({field["id"] for field in form["body"]}) == len(form["body"])
    for field in form["body"]:
        assert field["type"] in ("textarea", "input", "dropdown", "checkboxes") and field["attributes"]["label"]
    (doctor,) = [field for field in form["body"] if field["id"] == "doctor"]
    assert "`edgegd doctor --json`" in doctor["attributes"]["description"] and doctor["attributes"]["render"] == "json"
    refuse_unknown_options(["doctor", "--json"])


def test_hooks_run_what_lint_runs() -> None:
    (repository,) = read(ROOT / ".pre-commit-config.yaml")["repos"]
    entries = {hook["id"]: hook["entry"] for hook in repository["hooks"]}
    assert set(entries) == {"ruff-check", "ruff-format", "mypy", "generated-pages"}
    refuse_unknown_make_targets([entries["generated-pages"].removeprefix("make ")])


def test_the_citation_and_the_addresses_are_those_of_the_project() -> None:
    citation, project = read(ROOT / "CITATION.cff"), PROJECT["project"]
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()  # what its schema 1.2.0 requires
    assert citation["version"] == project["version"] == edgegd.__version__
    assert citation["license"] == project["license"] == "AGPL-3.0-or-later"
    address = project["urls"]["Homepage"]
    assert citation["repository-code"] == citation["url"] == address
    assert all(url.startswith(address) for url in project["urls"].values())
    for substitution in PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        assert address.removeprefix("https://github.com/") in substitution["replacement"]
    named = re.findall(r"https://github\.com/(\w+/edgegd)", "".join(path.read_text() for path in [*FORMS, *WORKFLOWS]))
    assert set(named) <= {address.removeprefix("https://github.com/")}


def test_on_pypi_every_link_and_picture_of_the_readme_is_an_address_of_a_file() -> None:
    text = README
    for substitution in PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(substitution["pattern"], substitution["replacement"], text)
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert len(links) == len(re.findall(r"\]\(([^)]*)\)", README)) > 15
    for link in links:
        match = re.fullmatch(
            r"https://(?:github\.com/edgegd/edgegd/blob|raw\.githubusercontent\.com/edgegd/edgegd)/main/(.*)", link
        )
        assert match and (ROOT / match[1]).is_file(), link
    assert "![" in text and "raw.githubusercontent.com" in text.split("![")[1].split("\n")[0], "a picture, not a page"
    assert "mermaid" not in text, "PyPI does not draw it"


def test_the_package_is_typed_and_the_sdist_has_every_file_of_the_root() -> None:
    assert (ROOT / "edgegd/py.typed").is_file() and "Typing :: Typed" in PROJECT["project"]["classifiers"]
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    for name in ("CITATION.cff", "LICENSE", ".github", ".pre-commit-config.yaml", "tests", "docs"):
        assert name in included and (ROOT / name).exists()
    assert "*.md" in included


def test_the_changelog_keeps_its_form_and_knows_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.M)
    assert headings[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading) for heading in headings[1:])
    kinds = set(re.findall(r"^### (.*)$", text, re.M))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    released = [heading.split("]")[0][1:] for heading in headings[1:]]
    assert edgegd.__version__ in (released or re.findall(r"\d+\.\d+\.\d+", text))


def test_the_photographs_are_few_and_carry_their_licence(bccd_images: tuple[Path, ...]) -> None:
    folder = bccd_images[0].parents[2]
    assert (
        "MIT License" in (folder / "LICENSE").read_text()
        and "Shenggan/BCCD_Dataset" in (folder / "README.md").read_text()
    )
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 2_000_000
