"""Runs that swap activations: artifacts, resuming, and what is refused. Oracle: runs without a swap or interruption."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from step_rows import untimed_rows

from edgegd.pipeline.registry import STAGES

Command = Callable[..., Any]
pytest.importorskip("torch")
RELU = (
    "--set=quant.activation=relu",
    "--set=train.adapt.epochs=2",
    "--set=train.adapt.warmup_epochs=0.5",
    "--set=train.epochs=1",
    "--set=train.distill.head=1",
    "--set=train.distill.neck=1",
)


@pytest.fixture(scope="session")
def relu_run(tiny_recipe: Path, edgegd_command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of tiny_recipe with ReLU everywhere."""
    folder = tmp_path_factory.mktemp("runs") / "relu"
    outcome = edgegd_command("run", tiny_recipe, "--run-dir", folder, "--json", *RELU)
    assert outcome.code == 0, outcome.err
    stages = json.loads(outcome.out)["stages"]
    assert list(stages) == [name for name in STAGES if name not in ("search", "control")] and set(stages.values()) == {
        "ran"
    }
    return folder


@pytest.fixture
def relu_copy(relu_run: Path, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    return Path(shutil.copytree(relu_run, tmp_path / "run", symlinks=True))


def activations(path: Path) -> Counter[str]:
    """How many modules of each activation a checkpoint has, shared ones counted for each of their blocks."""
    from edgegd.detectors.float_checkpoint import open_checkpoint

    kinds = [type(m).__name__ for _, m in open_checkpoint(path).named_modules(remove_duplicate=False)]
    return Counter(kind for kind in kinds if kind in ("SiLU", "ReLU"))


def nodes(path: Path) -> Counter[str]:
    """How many nodes of each type an ONNX file has."""
    import onnx

    return Counter(node.op_type for node in onnx.load(path).graph.node)


def test_a_run_without_a_swap_knows_nothing_of_it(finished_run: Path) -> None:
    made = {path.name for path in finished_run.rglob("*")}
    assert not made & {"activation.json", "adapted.pt", "adaptation.json", "adapt.json"}
    assert "activation swap" not in (finished_run / "report.md").read_text()
    assert "swap" not in json.loads((finished_run / "report.json").read_text())


def test_the_swapped_model_is_trained_quantized_and_compared_with_the_silu_one(
    relu_run: Path, finished_run: Path, edgegd_command: Command
) -> None:
    assert activations(relu_run / "float.pt") == {"SiLU": 105}
    assert activations(relu_run / "adapted.pt") == {"ReLU": 105}
    assert (relu_run / "fp32.onnx").read_bytes() == (finished_run / "fp32.onnx").read_bytes()
    assert nodes(relu_run / "adapted.onnx")["Relu"] == 87 and not (finished_run / "adapted.onnx").exists()
    for variant in ("ptq", "qat"):
        assert nodes(relu_run / f"{variant}.onnx")["Relu"] == 87
        assert nodes(relu_run / f"{variant}.onnx")["Sigmoid"] == nodes(relu_run / "fp32.onnx")["Sigmoid"] - 87
    adaptation, descent = (json.loads((relu_run / f"{name}.json").read_text()) for name in ("adaptation", "descent"))
    for record, epochs in ((adaptation, 2), (descent, 1)):
        assert len(record["epochs"]) == epochs
        assert {"distill_head", "distill_neck", "box_loss"} <= record["epochs"][0]["parts"].keys()
    assert len((relu_run / "adaptation.jsonl").read_text().splitlines()) == 4
    report = (relu_run / "report.md").read_text()
    assert "105 of 105 SiLUs became ReLU" in report and "mAP50-95 (torch, float)" in report
    assert 'data-picture="adaptation-loss"' in (relu_run / "report.html").read_text()
    explained = edgegd_command("explain", relu_run)
    assert explained.out.startswith("105 of 105 SiLUs became ReLU (quant.activation relu).")
    assert explained.out.count("absorbed-relu") >= 87
    choice = json.loads(edgegd_command("explain", relu_run, "--json").out)["activation"]
    assert len(choice["relu"]) == 105 and choice["silu"] == []


def test_an_interrupted_adaptation_goes_on_bit_for_bit(
    edgegd_command: Command, tiny_recipe: Path, relu_run: Path, relu_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgegd.descent.training import Training

    real, calls = Training.take_step, []

    def interrupted(self: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self, *arguments, **options)

    for name in ("manifests/adapt.json", "adapted.pt", "adaptation.json", "adaptation.jsonl"):
        (relu_copy / name).unlink()
    arguments = (
        "run",
        tiny_recipe,
        "--run-dir",
        relu_copy,
        "--until",
        "adapt",
        *RELU,
        "--set=train.checkpoint_minutes=0",
    )
    monkeypatch.setattr(Training, "take_step", interrupted)
    assert edgegd_command(*arguments).code == 130
    monkeypatch.undo()
    assert (relu_copy / "adaptation.jsonl").read_text().count("\n") == 3
    outcome = edgegd_command(*arguments)
    assert outcome.code == 0 and "going on after step 3 of an interrupted training\n" in outcome.err
    assert "activation: unchanged, skipped\n" in outcome.err
    for name in ("adaptation.json", "adapted.pt"):
        assert (relu_copy / name).read_bytes() == (relu_run / name).read_bytes()
    assert untimed_rows(relu_copy / "adaptation.jsonl") == untimed_rows(relu_run / "adaptation.jsonl")
    assert not list(relu_copy.glob("adapt-*"))


def test_a_change_of_the_adaptation_starts_there_and_one_of_qat_after_it(
    edgegd_command: Command, tiny_recipe: Path, relu_copy: Path
) -> None:
    def ran(*changes: str) -> list[str]:
        arguments = ("--run-dir", relu_copy, "--json", "--until", "ptq", *RELU, *changes)
        outcome = edgegd_command("run", tiny_recipe, *arguments)
        assert outcome.code == 0, outcome.err
        return [name for name, what in json.loads(outcome.out)["stages"].items() if what == "ran"]

    assert ran() == []
    assert ran("--set=quant.calibration_images=3") == ["ptq"]
    assert ran("--set=train.adapt.epochs=1") == ["adapt", "ptq"]


def test_the_measured_choice_is_kept_and_shown(edgegd_command: Command, tiny_recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    arguments = (
        "run",
        tiny_recipe,
        "--run-dir",
        folder,
        "--until",
        "ptq",
        "--set=quant.activation=auto",
        "--set=quant.activation_saving=0.3",
        "--set=train.adapt.epochs=1",
    )
    outcome = edgegd_command(*arguments)
    assert outcome.code == 0, outcome.err
    choice = json.loads((folder / "activation.json").read_text())
    units = choice["units"]
    assert len(units) == 60 and all(unit["saved_ms"] >= 0 for unit in units)
    swapped = [unit for unit in units if unit["swapped"]]
    saved, whole = (sum(unit["saved_ms"] for unit in chosen) for chosen in (swapped, units))
    assert 0.3 * whole <= saved < 0.3 * whole + swapped[-1]["saved_ms"] + 1e-9
    assert {path for unit in swapped for path in unit["paths"]} == set(choice["relu"])
    assert activations(folder / "adapted.pt") == {"ReLU": len(choice["relu"]), "SiLU": len(choice["silu"])}
    plan = json.loads((folder / "plan.json").read_text())
    rules = Counter((op["operation"], op["rule"]) for op in plan["ops"] if op["operation"] in ("silu", "relu"))
    assert rules == {("relu", "absorbed-relu"): len(choice["relu"]), ("silu", "silu"): 87 - len(choice["relu"])}
    shown = edgegd_command("explain", folder).out
    assert f"{len(choice['relu'])} of 105 SiLUs became ReLU (quant.activation auto): {saved:.2f} of the" in shown
    assert shown.count("stays SiLU") == len(units) - len(swapped)
    assert not list(folder.glob(".silu.onnx*"))
    assert "activation: unchanged, skipped\nadapt: unchanged, skipped" in edgegd_command(*arguments).err


@pytest.mark.parametrize("stage", ("activation", "adapt"))
def test_the_stages_of_a_swap_are_refused_where_there_is_none(
    edgegd_command: Command, run_copy: Path, stage: str
) -> None:
    outcome = edgegd_command(stage, run_copy)
    assert outcome.code == 66 and "found: quant.activation silu" in outcome.err


def test_a_model_without_silu_is_refused(
    edgegd_command: Command, tiny_recipe: Path, relu_run: Path, tmp_path: Path
) -> None:
    weights = f"--set=model.weights={relu_run / 'adapted.pt'}"
    for activation in ("auto", "relu"):
        outcome = edgegd_command(
            "run", tiny_recipe, "--run-dir", tmp_path / "run", weights, f"--set=quant.activation={activation}"
        )
        assert outcome.code == 66 and "The model has no SiLU to replace." in outcome.err
        assert "found: activations ReLU" in outcome.err


def test_an_adapted_model_of_another_recipe_is_refused(
    edgegd_command: Command, tiny_recipe: Path, relu_copy: Path
) -> None:
    outcome = edgegd_command(
        "run", tiny_recipe, "--run-dir", relu_copy, *RELU, "--set=quant.activation=auto", "--until", "float"
    )
    assert outcome.code == 0, outcome.err
    for stage in ("ptq", "adapt"):
        outcome = edgegd_command(stage, relu_copy, "--force")
        assert outcome.code == 66 and "were chosen for another recipe" in outcome.err
        assert "expected: quant.activation auto" in outcome.err and "found: quant.activation relu" in outcome.err


def test_a_checkpoint_with_other_activations_than_chosen_is_refused(edgegd_command: Command, relu_copy: Path) -> None:
    from edgegd.errors import ActivationError
    from edgegd.pipeline.models import model_to_quantize
    from edgegd.pipeline.run_folder import RunFolder

    (relu_copy / "adapted.pt").write_bytes((relu_copy / "float.pt").read_bytes())
    with pytest.raises(ActivationError, match="does not have the activations that were chosen"):
        model_to_quantize(RunFolder.open_existing(relu_copy))
    outcome = edgegd_command("ptq", relu_copy, "--force")
    assert outcome.code == 53 and "is not as stage adapt left it" in outcome.err
    (relu_copy / "activation.json").write_text("{}")
    with pytest.raises(ActivationError, match=r"activation\.json is malformed"):
        model_to_quantize(RunFolder.open_existing(relu_copy))


def test_a_loss_that_is_not_finite_names_the_adaptations_rate(
    edgegd_command: Command, tiny_recipe: Path, relu_copy: Path
) -> None:
    before = (relu_copy / "adapted.pt").read_bytes()
    outcome = edgegd_command("run", tiny_recipe, "--run-dir", relu_copy, *RELU, "--set=train.adapt.lr0=1e30")
    assert outcome.code == 60 and "lower train.adapt.lr0 or train.grad_clip" in outcome.err
    assert f"the best model so far is kept in {relu_copy / 'adapt-last-good.pt'}" in outcome.err
    assert (relu_copy / "adapted.pt").read_bytes() == before
    assert activations(relu_copy / "adapt-last-good.pt") == {"ReLU": 105}
