"""`train.device`: what names one device, what does not, and what happens where the device is not there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgegd.errors import RecipeError, TrainingDeviceError
from edgegd.recipe.device import canonical_device
from edgegd.recipe.load import parse_recipe

MINIMAL = "version: 1\ndata: {path: a.yaml}\n"
VALID = [
    (0, "cuda:0"),
    ("0", "cuda:0"),
    (3, "cuda:3"),
    ("11", "cuda:11"),
    ("cpu", "cpu"),
    ("cuda", "cuda"),
    ("cuda:0", "cuda:0"),
    ("cuda:7", "cuda:7"),
    ("mps", "mps"),
    (" 0 ", "cuda:0"),
]
REFUSED = [
    "0,1",
    "[0, 1]",
    "[0]",
    "cuda:0,1",
    "cuda:x",
    "cuda:",
    "cuda:-1",
    "-1",
    "-0",
    "1.0",
    "1e0",
    "00",
    "cuda:01",
    "gpu",
    "CPU",
    "Cuda:0",
    "cuda0",
    "cuda 0",
    "cpu:0",
    "mps:0",
    "xpu",
    "none",
    "null",
    "true",
    "{}",
    "''",
    "\u0661",
    "cuda:" + "9" * 5000,
]
REFUSED_TYPES = ["[0, 1]", "[0]", "{}", "null", "true", "1.5", "-1", "0,1", ""]


@pytest.mark.parametrize(("said", "meant"), VALID)
def test_one_device_has_one_form(said: Any, meant: str) -> None:
    assert canonical_device(said) == meant
    assert canonical_device(meant) == meant
    assert parse_recipe(MINIMAL, (f"train.device={said}",)).train.device == meant
    assert parse_recipe(f"{MINIMAL}train: {{device: {said!r}}}\n").train.device == meant


@pytest.mark.parametrize("said", REFUSED, ids=lambda text: text[:12])
def test_everything_else_is_refused_with_one_sentence(said: str) -> None:
    one_mistake(MINIMAL, f"train.device={said}")
    one_mistake(f"{MINIMAL}train: {{device: '{said}'}}\n" if said != "''" else f"{MINIMAL}train: {{device: ''}}\n")


@pytest.mark.parametrize("said", REFUSED_TYPES)
def test_other_types_are_refused_like_texts(said: str) -> None:
    one_mistake(f"{MINIMAL}train:\n  device: {said}\n")


def one_mistake(text: str, *overrides: str) -> None:
    """Asserts that this recipe is refused, for its device alone and with one line."""
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, overrides)
    lines = caught.value.what.splitlines()
    assert len(lines) == 2 and "train.device: expected cpu, cuda" in lines[1] and len(lines[1]) < 220
    assert caught.value.exit_code == 10


def test_lists_and_other_cases_say_what_is_wrong_with_them() -> None:
    for said in ("0,1", [0, 1], "cuda:0,1"):
        with pytest.raises(ValueError, match="several devices; training runs on one"):
            canonical_device(said)
    with pytest.raises(ValueError, match=r"did you mean cuda:0\?"):
        canonical_device("CUDA:0")


def test_validation_needs_no_torch() -> None:
    code = (
        "import sys; from edgegd.recipe.load import load_recipe\n"
        "assert load_recipe('coco/yolo26n', ['train.device=0']).train.device == 'cuda:0'\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes torch see so many GPUs, and no Apple GPU."""
    torch = pytest.importorskip("torch")

    def see(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    return see


@pytest.mark.parametrize(
    ("count", "device", "found"),
    [
        (0, "cuda", "no GPU that torch"),
        (0, "cuda:0", "no GPU that torch"),
        (1, "cuda:7", "found: cuda:0 alone"),
        (2, "cuda:2", "2 of them, cuda:0 to cuda:1"),
        (1, "mps", "no Apple GPU"),
    ],
)
def test_an_absent_device_is_refused(gpus: Callable[[int], None], count: int, device: str, found: str) -> None:
    from edgegd.descent.device import require_device

    gpus(count)
    with pytest.raises(TrainingDeviceError, match=f"train.device names, {device}, is not in this machine") as caught:
        require_device(device)
    assert found in caught.value.message() and caught.value.exit_code == 68


@pytest.mark.parametrize(("count", "device"), [(0, "cpu"), (1, "cuda"), (1, "cuda:0"), (2, "cuda:1")])
def test_a_device_that_is_there_is_taken(gpus: Callable[[int], None], count: int, device: str) -> None:
    from edgegd.descent.device import require_device

    gpus(count)
    require_device(device)


@pytest.mark.parametrize("until", ["data", "report"])
def test_a_run_is_refused_before_it_makes_a_folder(
    gpus: Callable[[int], None], edgegd_command: Callable[..., Any], tiny_recipe: Path, tmp_path: Path, until: str
) -> None:
    gpus(1)
    arguments = ("run", tiny_recipe, "--run-dir", tmp_path / "run", "--until", until, "--set", "train.device=7")
    outcome = edgegd_command(*arguments)
    assert outcome.code == 68 and outcome.err.count("edgegd:") == 1 and "cuda:7, is not in this machine" in outcome.err
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("stage", ["float", "adapt", "qat"])
def test_a_stage_that_trains_is_refused_and_leaves_the_folder_as_it_was(
    gpus: Callable[[int], None],
    edgegd_command: Callable[..., Any],
    contents: Callable[[Path], Any],
    run_copy: Path,
    stage: str,
) -> None:
    gpus(0)
    recipe = run_copy / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("device: cpu", "device: cuda:0"))
    before = contents(run_copy)
    assert edgegd_command(stage, run_copy, "--force").code == 68
    assert contents(run_copy) == before


def test_a_stage_that_does_not_train_needs_no_device(
    gpus: Callable[[int], None], edgegd_command: Callable[..., Any], run_copy: Path
) -> None:
    gpus(0)
    recipe = run_copy / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("device: cpu", "device: cuda:0"))
    outcome = edgegd_command("report", run_copy)
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize(
    ("said", "device", "to_ultralytics"),
    [
        ("0", "cuda:0", "0"),
        ("cuda:1", "cuda:1", "1"),
        ("mps", "mps", "mps"),
        ("cpu", "cpu", "cpu"),
    ],
)
def test_all_three_trainings_get_a_device_that_torch_and_ultralytics_read_alike(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str, device: str, to_ultralytics: str
) -> None:
    float_training = pytest.importorskip("edgegd.detectors.float_training")
    from ultralytics.utils.torch_utils import parse_device

    from edgegd.pipeline.stages.adapt import adaptation_settings

    asked: dict[str, Any] = {}

    class Ended(Exception):
        pass

    class Recorder:
        def __init__(self, *arguments: Any, **named: Any) -> None: ...
        def add_callback(self, *arguments: Any) -> None: ...
        def train(self, **arguments: Any) -> None:
            asked.update(arguments)
            raise Ended

    recipe = parse_recipe(MINIMAL, (f"train.device={said}",))
    monkeypatch.setattr(float_training, "YOLO", Recorder)
    with pytest.raises(Ended):
        float_training.train_float(
            "a.pt",
            tmp_path / "data.yaml",
            tmp_path / "best.pt",
            imgsz=64,
            settings=recipe.model.float,
            train=recipe.train,
            work_folder=tmp_path,
            progress=lambda *_: None,
            note=lambda _: None,
        )
    assert asked["device"] == recipe.train.device == adaptation_settings(recipe.train).device == device
    assert parse_device(asked["device"]) == to_ultralytics
    assert str(pytest.importorskip("torch").device(device)) == device
