"""Numbers set in a recipe's text. Oracle: the recipes that the two texts mean, and the lines that differ."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edgegd.errors import OutputFileError, RecipeError
from edgegd.recipe.edit import require_editable, set_numbers, shown
from edgegd.recipe.load import load_recipe
from edgegd.recipe.paths import recipes_folder

BEGINNING = "version: 1\nmodel: {weights: a.pt, imgsz: 64}\ndata: {source: yaml, path: a.yaml}\n"
RATES = {"train.lr0": 3.2e-5, "train.bias_lr": 0.00021, "train.range_lr": 0.5}


def edited(folder: Path, text: str) -> str:
    path = folder / "my.yaml"
    path.write_bytes(text.encode())
    before = load_recipe(path)
    set_numbers(path, RATES)
    expected = dataclasses.replace(before.train, lr0=3.2e-5, bias_lr=0.00021, range_lr=0.5)
    assert load_recipe(path) == dataclasses.replace(before, train=expected)
    return path.read_bytes().decode()


@pytest.mark.parametrize("name", ["streets/yolo26n", "bccd/yolo26n-auto"])
def test_comments_and_all_other_lines_of_a_shipped_recipe_stay(name: str, tmp_path: Path) -> None:
    text = (recipes_folder() / f"{name}.yaml").read_text()
    lines, before = edited(tmp_path, text).splitlines(), text.splitlines()
    new = [line for line in lines if line not in before]
    (old,) = (line for line in before if line not in lines)
    assert old.lstrip().startswith("lr0: ") and "#" in old
    assert new == ["  lr0: 0.000032" + old[old.index("lr0: ") :].partition(" ")[2].lstrip("0123456789."),
                   "  bias_lr: 0.00021", "  range_lr: 0.5"]  # fmt: skip
    assert [line for line in lines if line not in new] == [line for line in before if line != old]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "train: {epochs: 2, batch: 4}\n",
            "train: {epochs: 2, batch: 4, lr0: 0.000032, bias_lr: 0.00021, range_lr: 0.5}\n",
        ),
        ("", "train:\n  lr0: 0.000032\n  bias_lr: 0.00021\n  range_lr: 0.5\n"),
        ("train:\n  lr0: 1e-4  # low", "train:\n  lr0: 0.000032  # low\n  bias_lr: 0.00021\n  range_lr: 0.5\n"),
        (
            "train:\n    range_lr: 0.01\n    distill:\n        neck: 1\n\n# behind\nexport: {opset: 17}\n",
            "train:\n    range_lr: 0.5\n    distill:\n        neck: 1\n    lr0: 0.000032\n    bias_lr: 0.00021\n"
            "\n# behind\nexport: {opset: 17}\n",
        ),
        (
            "train:\r\n  lr0: 0.01\r\n  bias_lr: null # as lr0\r\n",
            "train:\r\n  lr0: 0.000032\r\n  bias_lr: 0.00021 # as lr0\r\n  range_lr: 0.5\r\n",
        ),
    ],
    ids=["braces", "no section", "no line's end", "a section within", "Windows' lines"],
)
def test_keys_come_into_their_section(text: str, expected: str, tmp_path: Path) -> None:
    assert edited(tmp_path, BEGINNING + text) == BEGINNING + expected


@pytest.mark.parametrize(
    "text",
    [
        BEGINNING + "train:\n",
        BEGINNING + "train:\n  lr0: &rate 0.01\n  bias_lr: *rate\n",
        BEGINNING + "train: {lr0: 0.1, epochs: 0}\n",
        "{version: 1, model: {weights: a.pt}, data: {source: yaml, path: a.yaml}}\n",
        "version: [",
    ],
    ids=["an empty section", "an alias", "a mistake", "all in braces", "no YAML"],
)
def test_what_cannot_be_changed_in_its_place_is_refused_and_stays(text: str, tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError):
        set_numbers(path, RATES)
    assert path.read_text() == text and [entry.name for entry in tmp_path.iterdir()] == ["my.yaml"]


def test_links_and_what_is_no_file_are_refused_before_anything_else(tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text(BEGINNING)
    (tmp_path / "link.yaml").symlink_to("real.yaml")
    for name in ("link.yaml", "absent.yaml"):
        with pytest.raises(OutputFileError, match=name):
            require_editable(tmp_path / name)
        with pytest.raises(OutputFileError, match=name):
            set_numbers(tmp_path / name, RATES)
    assert (tmp_path / "real.yaml").read_text() == BEGINNING
    require_editable(tmp_path / "real.yaml")
    assert (tmp_path / "real.yaml").read_text() == BEGINNING


def test_numbers_have_two_digits() -> None:
    assert [shown(x) for x in (0.00005, 1.26e-8, 0.0316227, 1, 12.4, 0.1, 999999.0, 20)] == [
        "0.00005",
        "1.3e-08",
        "0.032",
        "1",
        "12",
        "0.1",
        "1000000",
        "20",
    ]
