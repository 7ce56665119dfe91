"""Every bad input of a run gives one message and its own exit code, and changes no file of the user's.

Oracle: the exit codes and the fragments written here; files are compared byte by byte.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
pytest.importorskip("torch")


@pytest.fixture
def data(tiny_set: Path, tmp_path: Path) -> Path:
    """A copy of the small data set, to spoil."""
    return Path(shutil.copytree(tiny_set, tmp_path / "user" / "set"))


@pytest.fixture
def refused(tmp_path: Path, edgegd_command: Command, contents: Callable[[Path], Any]) -> Command:
    """Asserts that a command fails with this code and these fragments in one message, and that user/ is as it was."""
    user = tmp_path / "user"
    user.mkdir(exist_ok=True)

    def check(code: int, fragments: tuple[str, ...], *arguments: object) -> str:
        before = contents(user)
        outcome = edgegd_command(*arguments)
        assert outcome.code == code, outcome.err
        for fragment in fragments:
            assert fragment in outcome.err
        assert outcome.err.count("edgegd: ") == 1 and "Traceback" not in outcome.err
        assert contents(user) == before
        return str(outcome.out)

    return check


@pytest.mark.parametrize(
    ("override", "fragment"),
    [
        ("train.epoch=3", "train.epoch: unknown key; did you mean train.epochs?"),
        ("model.imgsz=big", "model.imgsz: expected a whole number or a list of two whole numbers, found text ('big')"),
    ],
)
def test_a_wrong_key_or_type_is_named(
    refused: Command, tiny_recipe: Path, tmp_path: Path, override: str, fragment: str
) -> None:
    refused(10, (fragment,), "run", tiny_recipe, "--set", override, "--run-dir", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_five_mistakes_are_shown_at_once(refused: Command, tmp_path: Path) -> None:
    recipe = tmp_path / "user/wrong.yaml"
    recipe.write_text(
        "version: 1\nmodel: {imgsz: big, weight: x.pt}\ndata: {path: x.yaml, source: zip}\n"
        "train: {epochs: 0}\nquants: {}\n"
    )
    refused(
        10,
        ("5 mistakes", "model.imgsz:", "model.weight:", "data.source:", "train.epochs:", "quants:"),
        "run",
        recipe,
        "--run-dir",
        tmp_path / "run",
    )
    refused(10, ("5 mistakes",), "recipe", "validate", recipe)


def test_an_unknown_recipe_names_the_nearest(refused: Command, tmp_path: Path) -> None:
    refused(11, ("did you mean bccd/yolo26n?",), "run", "bccd/yolo26", "--run-dir", tmp_path / "run")


def test_copying_a_recipe_overwrites_nothing(refused: Command, tmp_path: Path) -> None:
    (tmp_path / "user/mine.yaml").write_text("mine")
    refused(26, ("mine.yaml",), "recipe", "cp", "bccd/yolo26n", tmp_path / "user/mine.yaml")


def no_yaml(data: Path) -> None:
    (data / "streets.yaml").unlink()


def empty_folder(data: Path) -> None:
    for image in (data / "images/val").iterdir():
        image.unlink()


def label_out_of_range(data: Path) -> None:
    next((data / "labels/train").iterdir()).write_text("0 320 240 64 48\n")


def label_of_no_class(data: Path) -> None:
    next((data / "labels/val").iterdir()).write_text("3 0.5 0.5 0.2 0.2\n")


def unreadable_image(data: Path) -> None:
    image = next((data / "images/train").iterdir())
    image.write_bytes(image.read_bytes()[:-100])


def image_without_label(data: Path) -> None:
    next((data / "labels/train").iterdir()).unlink()


@pytest.mark.parametrize(
    ("spoil", "code", "fragment"),
    [
        (no_yaml, 20, "streets.yaml"),
        (empty_folder, 21, "no val images"),
        (label_out_of_range, 22, "coordinate 320 is outside 0..1"),
        (label_of_no_class, 22, "class 3 does not exist: the data set has classes 0 to 2"),
        (unreadable_image, 23, "the file is truncated"),
        (image_without_label, 24, "data.unlabelled: background"),
    ],
)
def test_a_defect_of_the_data_set_is_refused(
    refused: Command,
    tiny_recipe: Path,
    data: Path,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    code: int,
    fragment: str,
) -> None:
    spoil(data)
    refused(
        code,
        (fragment,),
        "run",
        tiny_recipe,
        "--set",
        "data.source=yaml",
        "--set",
        f"data.path={data / 'streets.yaml'}",
        "--run-dir",
        tmp_path / "run",
    )


def ultralytics_checkpoint(architecture: str, path: Path) -> Path:
    from ultralytics import YOLO

    YOLO(architecture).save(path)
    return path


def missing(folder: Path, tiny: Path) -> str:
    return str(folder / "absent.pt")


def truncated(folder: Path, tiny: Path) -> str:
    (folder / "cut.pt").write_bytes(tiny.read_bytes()[:100_000])
    return str(folder / "cut.pt")


def text(folder: Path, tiny: Path) -> str:
    (folder / "text.pt").write_text("not a checkpoint")
    return str(folder / "text.pt")


def segmentation(folder: Path, tiny: Path) -> str:
    return str(ultralytics_checkpoint("yolo26n-seg.yaml", folder / "seg.pt"))


def classification(folder: Path, tiny: Path) -> str:
    return str(ultralytics_checkpoint("yolo26n-cls.yaml", folder / "cls.pt"))


def eighty_classes(folder: Path, tiny: Path) -> str:
    return str(ultralytics_checkpoint("yolo26n.yaml", folder / "coco.pt"))


@pytest.mark.parametrize(
    ("make", "code", "fragment"),
    [
        (missing, 30, "absent.pt"),
        (lambda folder, tiny: "yolo99n.yaml", 30, "yolo99n.yaml"),
        (lambda folder, tiny: "yolo26n.yaml", 30, "model.float.epochs is 0"),
        (truncated, 31, "100000 bytes"),
        (text, 31, "text.pt"),
        (segmentation, 32, "task segment"),
        (classification, 32, "task classify"),
        (lambda folder, tiny: "yolo26n-seg.yaml", 32, "task segment"),
        (eighty_classes, 33, "expected: 3: pedestrian, car, traffic sign"),
    ],
    ids=[
        "missing",
        "no architecture",
        "no weights",
        "truncated",
        "text",
        "segment",
        "classify",
        "segment architecture",
        "80 classes",
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    refused: Command,
    tiny_recipe: Path,
    tiny_checkpoint: Path,
    tmp_path: Path,
    make: Callable[[Path, Path], str],
    code: int,
    fragment: str,
) -> None:
    weights = make(tmp_path / "user", tiny_checkpoint)
    refused(code, (fragment,), "run", tiny_recipe, "--set", f"model.weights={weights}", "--run-dir", tmp_path / "run")
    assert not (tmp_path / "run/float.pt").exists()


@pytest.mark.parametrize("weights", ["", "yolo26n.yaml"])
def test_imgsz_must_fit_the_stride_before_anything_is_trained(
    refused: Command, tiny_recipe: Path, tmp_path: Path, weights: str
) -> None:
    chosen = ("--set", f"model.weights={weights}", "--set", "model.float.epochs=1") if weights else ()
    refused(
        34,
        ("a multiple of 32", "64 or 96"),
        "run",
        tiny_recipe,
        "--set",
        "model.imgsz=70",
        *chosen,
        "--run-dir",
        tmp_path / "run",
    )


def test_a_bad_checkpoint_is_refused_before_the_images_are_read(
    refused: Command, tiny_recipe: Path, data: Path, tmp_path: Path
) -> None:
    unreadable_image(data)
    refused(
        30,
        ("absent.pt",),
        "run",
        tiny_recipe,
        "--set",
        f"data.path={data}",
        "--set",
        "model.weights=absent.pt",
        "--run-dir",
        tmp_path / "run",
    )


def test_with_json_the_error_is_json_on_stdout_as_well(refused: Command, tiny_recipe: Path, tmp_path: Path) -> None:
    out = refused(
        30,
        ("absent.pt",),
        "run",
        tiny_recipe,
        "--set",
        "model.weights=absent.pt",
        "--json",
        "--run-dir",
        tmp_path / "run",
    )
    error = json.loads(out)
    assert error["error"] == "CheckpointNotFoundError" and error["exit_code"] == 30 and "absent.pt" in error["what"]
    error = json.loads(refused(10, ("unknown key",), "recipe", "validate", tiny_recipe, "--set", "a.b=1", "--json"))
    assert error["error"] == "RecipeError" and "a.b: unknown key" in error["what"]


def test_a_wrong_command_line_is_code_2_and_json_too(edgegd_command: Command) -> None:
    outcome = edgegd_command("run", "--json")
    assert outcome.code == 2 and json.loads(outcome.out)["what"] == "Missing argument 'RECIPE'."


def test_what_the_system_refuses_is_a_message(refused: Command, tiny_recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "user/file").write_text("a file")
    refused(55, (str(tmp_path / "user/file"),), "run", tiny_recipe, "--run-dir", tmp_path / "user/file/run")


def test_debug_shows_the_traceback_of_anything(edgegd_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr("edgegd.doctor.diagnose", broken)
    outcome = edgegd_command("doctor")
    assert outcome.code == 1 and "Unexpected RuntimeError: a fault" in outcome.err and "Traceback" not in outcome.err
    with pytest.raises(RuntimeError, match="a fault"):
        edgegd_command("--debug", "doctor")
