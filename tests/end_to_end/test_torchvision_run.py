"""A detector from outside Ultralytics through the whole pipeline, from its own file to the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

pytest.importorskip("torchvision")

from torchvision.models.detection import ssdlite320_mobilenet_v3_large

from edgegd.detectors.torchvision_checkpoint import store_torchvision
from edgegd.runtime.detector import Detector
from edgegd.runtime.images import read_image

CLASSES = ["pedestrian", "car", "traffic sign"]


@pytest.fixture(scope="module")
def recipe(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe whose model is an SSDLite of random weights; its probabilities are about a quarter each."""
    folder = tmp_path_factory.mktemp("torchvision")
    torch.manual_seed(0)
    model: Any = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=len(CLASSES) + 1)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.bias, 0, 0.1)
    store_torchvision(model, CLASSES, folder / "ssd.safetensors")
    path = folder / "ssd.yaml"
    path.write_text(
        "version: 1\n"
        f"model: {{weights: {folder}/ssd.safetensors, imgsz: 96}}\n"
        f"data: {{source: streets, path: {tiny_set}}}\n"
        "quant: {calibration_images: 4}\n"
        "train: {epochs: 2, batch: 4, workers: 0, distill: {head: 0.5, neck: 0.5}}\n"
        "latency: {launches: 1, quads: 1, block_s: 0.02, warmup_s: 0.1}\n"
    )
    return path


@pytest.mark.training
@pytest.mark.slow
def test_ssdlite_runs_from_its_file_to_the_report(
    recipe: Path, tiny_set: Path, edgegd_command: Callable[..., Any], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    outcome = edgegd_command("run", recipe, "--run-dir", run)
    assert outcome.code == 0, outcome.err
    verification = json.loads((run / "verify.json").read_text())
    for variant in ("ptq", "qat"):
        census = verification["census"][variant]
        assert (census["int8_convs"], census["float_convs"], census["planned_float_convs"]) == (92, 6, 6)
        assert census["unintended"] == []
        assert verification["parity"][variant]["agreeing_share"] >= verification["tolerance"]["boxes"]["agreeing_share"]
        assert verification["ladder"][variant]["one_operation"]
        assert verification["edge"][variant]
    descent = json.loads((run / "descent.json").read_text())
    assert {part for epoch in descent["epochs"] for part in epoch["parts"]} == {
        "bbox_regression",
        "classification",
        "distill_head",
        "distill_neck",
    }
    plan = json.loads((run / "plan.json").read_text())
    reasons = {op["reason"] for op in plan["ops"] if op["rule"] == "no-integer-kernel"}
    assert {reason.rsplit(" ", 1)[1] for reason in reasons} == {"hardswish", "hardsigmoid", "hardtanh"}
    detector = Detector(run / "qat.edge.onnx", conf=0.01)
    assert detector.contract.names == tuple(CLASSES) and detector.contract.output.kind == "raw"
    image = read_image(sorted((tiny_set / "images/val").iterdir())[0], 3)
    assert len(detector(image)) > 0
    assert "92 of 98" in (run / "report.md").read_text()
    for command in ("export", "verify"):  # from the float file alone, and against torch
        outcome = edgegd_command(command, run, "--profile", "arm64")
        assert outcome.code == 0, outcome.err
    other = json.loads((run / "verify-arm64.json").read_text())
    assert [other["census"][variant]["int8_convs"] for variant in ("ptq", "qat")] == [92, 92]


@pytest.mark.parametrize(
    ("changes", "code", "expected"),
    [
        ({"model": {"float": {"epochs": 1}}}, 61, "model.float cannot train"),
        ({"model": {"end2end": True}}, 61, "SSD has no end-to-end head"),
        ({"quant": {"activation": "relu"}}, None, "The model has no SiLU to replace"),
        ({"model": {"imgsz": 100}}, None, "does not fit the model's stride"),
    ],
    ids=["float-training", "end2end", "swap", "stride"],
)
def test_what_ssdlite_cannot_do_is_said_before_the_first_image(
    recipe: Path, changes: dict[str, Any], code: int | None, expected: str, edgegd_command: Any, tmp_path: Path
) -> None:
    content = yaml.safe_load(recipe.read_text())
    for section, values in changes.items():
        content[section] |= values
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(content))
    outcome = edgegd_command("run", path, "--run-dir", tmp_path / "run")
    assert outcome.code == code if code else outcome.code not in (0, 1)
    assert expected in outcome.err and "Traceback" not in outcome.err
    assert not (tmp_path / "run/data.json").exists()
