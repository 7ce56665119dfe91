"""Training, float and quantized: what a user sees of it, where it writes, how it stops on a loss that is not finite."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
torch = pytest.importorskip("torch")


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["checkpoint of other classes", "architecture"])
def test_float_training_is_shown_and_writes_only_into_the_run(
    edgegd_command: Command,
    tiny_recipe: Path,
    tiny_set: Path,
    tmp_path: Path,
    contents: Callable[[Path], Any],
    monkeypatch: pytest.MonkeyPatch,
    weights: str,
) -> None:
    from ultralytics import YOLO

    from edgegd.detectors.float_checkpoint import open_checkpoint

    monkeypatch.chdir(tmp_path)
    chosen, expected = "yolo26n.yaml", ["run"]
    if weights != "architecture":
        chosen, expected = "coco.pt", ["coco.pt", "run"]
        YOLO("yolo26n.yaml").save(chosen)
    before = contents(tiny_set)
    overrides = [f"--set=model.weights={chosen}", "--set=model.float.epochs=2", "--set=model.float.batch=4"]
    outcome = edgegd_command("run", tiny_recipe, *overrides, "--run-dir", "run", "--until", "ptq", "--json")
    assert outcome.code == 0, outcome.err
    epochs = re.findall(r"^float epoch (\d)/2: .*box_loss [\d.]+ .*mAP50-95 [\d.]+$", outcome.err, re.MULTILINE)
    assert epochs == ["1", "2"]
    assert json.loads(outcome.out)["stages"] == dict.fromkeys(("data", "float", "ptq"), "ran")
    names = open_checkpoint(tmp_path / "run/float.pt").names
    assert names == {0: "pedestrian", 1: "car", 2: "traffic sign"}
    assert contents(tiny_set) == before and sorted(path.name for path in tmp_path.iterdir()) == expected
    assert not list((tmp_path / "run").glob(".float-*"))
    assert str(tmp_path).encode() not in (tmp_path / "run/float.pt").read_bytes(), "no path of this machine is shared"


def test_quantized_training_is_shown_epoch_by_epoch(edgegd_command: Command, run_copy: Path) -> None:
    outcome = edgegd_command("qat", run_copy, "--force")
    lines = outcome.err.splitlines()
    assert lines.pop(0).startswith("target profile ")
    assert re.fullmatch(r"calibrated, before the first step: mAP50-95 [\d.]+ under fake quantization", lines[0])
    for number in (1, 2):
        told = rf"epoch {number}/2: loss [\d.]+, learning rate [\d.e-]+, mAP50-95 [\d.]+ under fake quantization"
        assert re.fullmatch(told, lines[number])
    record = json.loads((run_copy / "descent.json").read_text())
    assert f"loss {record['epochs'][0]['loss']:.4f}" in lines[1]
    assert f"mAP50-95 {100 * record['start_map50_95']:.1f} " in lines[0]


@pytest.mark.parametrize("cause", ["loss", "learning rate"])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_model(
    edgegd_command: Command, tiny_recipe: Path, run_copy: Path, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    import safetensors.torch

    from edgegd.descent import training

    overrides = ["--set", "train.warmup_epochs=0"]
    if cause == "learning rate":
        overrides += ["--set", "train.lr0=1e30"]
    else:
        overrides += ["--set", "train.probe_every=0"]  # a probe asks for losses too
        real, calls = training.label_terms, []

        def third_is_nan(*arguments: Any) -> Any:
            calls.append(real(*arguments))
            return [term.times(float("nan")) for term in calls[-1]] if len(calls) == 3 else calls[-1]

        monkeypatch.setattr(training, "label_terms", third_is_nan)
    finished = (run_copy / "qat.safetensors").read_bytes()
    outcome = edgegd_command("run", tiny_recipe, "--run-dir", run_copy, *overrides)
    assert outcome.code == 60 and "Traceback" not in outcome.err
    step = {"loss": r"at step 3 of 4 \(epoch 2\), learning rate \d", "learning rate": r"learning rate [\d.]+e\+\d+"}
    assert re.search(step[cause], outcome.err)
    kept = run_copy / "qat-last-good.safetensors"
    assert f"the best model so far is kept in {kept}" in outcome.err
    state = safetensors.torch.load(kept.read_bytes())
    assert len(state) > 300 and all(bool(torch.isfinite(value).all()) for value in state.values())
    assert (run_copy / "qat.safetensors").read_bytes() == finished


def test_a_float_control_shows_what_quantization_did_not_earn(
    edgegd_command: Command, tiny_recipe: Path, run_copy: Path
) -> None:
    import onnx

    refused = edgegd_command("control", run_copy)
    assert refused.code == 10 and "train.control true" in refused.err
    qat = (run_copy / "qat.safetensors").read_bytes()
    outcome = edgegd_command("run", tiny_recipe, "--run-dir", run_copy, "--set", "train.control=true", "--json")
    assert outcome.code == 0, outcome.err
    stages = json.loads(outcome.out)["stages"]
    assert stages["control"] == stages["accuracy"] == "ran" and stages["qat"] == stages["export"] == "unchanged"
    assert (run_copy / "qat.safetensors").read_bytes() == qat
    control, report = (json.loads((run_copy / name).read_text()) for name in ("control.json", "report.json"))
    qat_epochs = json.loads((run_copy / "descent.json").read_text())["epochs"]
    assert [row["lr"] for row in control["epochs"]] == [row["lr"] for row in qat_epochs]
    floats = [onnx.load(run_copy / name) for name in ("fp32.onnx", "control.onnx")]
    assert not any(node.op_type == "QuantizeLinear" for node in floats[1].graph.node)
    assert [node.op_type for node in floats[0].graph.node] == [node.op_type for node in floats[1].graph.node]
    changed = floats[0].graph.initializer != floats[1].graph.initializer
    assert changed == (control["best_epoch"] > 0)
    accuracy, differences = report["accuracy"], report["differences"]
    gain = accuracy["control"]["map50_95"] - accuracy["fp32"]["map50_95"]
    assert differences["control_vs_fp32"]["map50_95"]["difference"] == pytest.approx(gain)
    assert report["ship"]["earned"]["qat"]["interval"] == differences["qat_vs_control"]["map50_95"]["interval"]
    text = (run_copy / "report.md").read_text()
    assert "| Float control " in text and "The same steps on the float model change FP32 by" in text
