"""`edgegd data doctor`: a table, JSON, and an exit code by the weightiest finding."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from edgegd.cli.imgsz import ImageSize
from edgegd.data.doctor import CHECKS

pytest.importorskip("scipy")
pytest.importorskip("PIL")
pytest.importorskip("tabulate")
Command = Callable[..., Any]


@pytest.fixture
def root(tiny_set: Path, tmp_path: Path) -> Path:
    """A copy of the small set of streets, in which every class is rare."""
    return Path(shutil.copytree(tiny_set, tmp_path / "set"))


def first_label(root: Path) -> Path:
    return min((root / "labels/train").iterdir())


def test_the_exit_code_is_that_of_the_weightiest_finding(
    edgegd_command: Command, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned = edgegd_command("data", "doctor", root, "--imgsz", "320")
    assert warned.code == 28 and "warning" in warned.out and "rare-classes" in warned.out
    assert "at imgsz 320: 12 images (8 train, 4 val)" in warned.out and not warned.err
    with first_label(root).open("a") as file:
        file.write("7 0.5 0.5 0.1 0.1\n")
    wrong = edgegd_command("data", "doctor", root, "--imgsz", "320")
    assert wrong.code == 27 and "class 7 does not exist" in wrong.out
    assert wrong.out.index("unknown-classes") < wrong.out.index("rare-classes")
    first_label(root).write_text("")
    monkeypatch.setattr("edgegd.data.doctor.class_checks.FEW_IMAGES", 0)
    assert edgegd_command("data", "doctor", root, "--imgsz", "320").code == 0


def test_json_is_one_value_with_the_same_exit_code(edgegd_command: Command, root: Path) -> None:
    outcome = edgegd_command("data", "doctor", root / "streets.yaml", "--imgsz", "[192, 320]", "--json")
    found = json.loads(outcome.out)
    assert outcome.code == found["exit_code"] == 28 and found["imgsz"] == [192, 320]
    assert found["checks"] == list(CHECKS) and found["splits"]["val"]["images"] == 4
    keys = {"check", "severity", "sentence", "count", "examples", "mend"}
    assert all(keys <= set(finding) for finding in found["findings"])


def test_fix_writes_a_copy_and_says_what_was_done(edgegd_command: Command, root: Path, tmp_path: Path) -> None:
    row = first_label(root).read_text().splitlines()[0]
    with first_label(root).open("a") as file:
        file.write(f"{row}\n")
    outcome = edgegd_command("data", "doctor", root, "--fix", tmp_path / "copy")
    assert outcome.code == 28 and "repeated rows removed: 1" in outcome.out
    assert f"corrected copy: {tmp_path / 'copy/data.yaml'}" in outcome.out
    again = json.loads(edgegd_command("data", "doctor", tmp_path / "copy", "--json").out)
    assert "repeated-rows" not in [finding["check"] for finding in again["findings"]]
    refused = edgegd_command("data", "doctor", root, "--fix", root / "copy", "--json")
    assert refused.code == 56 and json.loads(refused.out)["error"] == "OutputFileError"


@pytest.mark.parametrize(
    ("text", "code", "fragment"),
    [
        ("train: 3\nval: images/val\n", 20, "`train` must be a folder"),
        ("train: no\nval: images/val\nnames: [a]\n", 21, "no"),
    ],
)
def test_a_wrong_yaml_is_one_message(edgegd_command: Command, root: Path, text: str, code: int, fragment: str) -> None:
    (root / "streets.yaml").write_text(text)
    outcome = edgegd_command("data", "doctor", root)
    assert outcome.code == code and fragment in outcome.err and outcome.err.count("edgegd: ") == 1


def test_class_names_of_others_forge_no_line(edgegd_command: Command, root: Path) -> None:
    text = (root / "streets.yaml").read_text()
    (root / "streets.yaml").write_text(text.replace("0: pedestrian", '0: "a\\e[2J\\nwarning  x"'))
    out = edgegd_command("data", "doctor", root).out
    assert "\x1b" not in out and "\\x1b[2J\\nwarning  x: " in out


@pytest.mark.parametrize(
    ("text", "size"),
    [("640", (640, 640)), ("384,640", (384, 640)), ("[384, 640]", (384, 640)), ("384x640", (384, 640))],
)
def test_sizes(text: str, size: tuple[int, int]) -> None:
    assert ImageSize().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "big", "31", "640,", "1,2,3", "5000", "-640", "640.5", "[]"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(click.BadParameter):
        ImageSize().convert(text, None, None)
