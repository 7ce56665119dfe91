"""`edgegd labels`, by the command, on a finished run. Oracles: the record of its descent, and its label files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

pytest.importorskip("torch")

Command = Callable[..., Any]
KEYS = {"image", "labels", "classes", "losses", "kind", "hurt", "suspect"}


def found(command: Command, *arguments: object) -> dict[str, Any]:
    outcome = command("labels", *arguments, "--json")
    assert outcome.code == 0, outcome.err
    result: dict[str, Any] = json.loads(outcome.out)
    return result


def replace(run: Path, name: str, content: bytes) -> None:
    """Writes an artifact, and its hash into its stage's manifest."""
    (run / name).write_bytes(content)
    for manifest in (run / "manifests").iterdir():
        stored = json.loads(manifest.read_text())
        if name in stored["outputs"]:
            stored["outputs"][name] = hashlib.sha256(content).hexdigest()
        if name in stored["inputs"]["artifacts"]:
            stored["inputs"]["artifacts"][name] = hashlib.sha256(content).hexdigest()
        manifest.write_text(json.dumps(stored))


def test_every_training_image_has_its_row(
    run_copy: Path, edgegd_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = json.loads((run_copy / "data.json").read_text())
    recorded = safetensors.numpy.load_file(run_copy / "descent-images.safetensors")
    result = found(edgegd_command, run_copy, "--suspects", "3")
    assert json.loads((run_copy / "training-images.json").read_text()) == result
    assert [row["image"] for row in result["images"]] == data["train_images"] and len(result["images"]) == 8
    assert result["schema"] == 1 and result["names"] == data["names"]
    assert result["epoch_numbers"] == recorded["epochs"].tolist() and result["epochs"] == len(recorded["epochs"])
    for at, (row, content) in enumerate(zip(result["images"], data["contents"], strict=False)):
        assert row.keys() >= KEYS and row["labels"] == len(row["classes"]) == content[2]
        assert row["losses"] == pytest.approx(recorded["losses"][:, at].tolist(), abs=1e-4)
        assert row["hurt"] >= 0 and 0 <= row["suspect"] <= 1 and row["kind"] in result["counts"]
    assert sum(result["counts"].values()) == 8 and result["sentence"]
    for kind in ("overlooked", "badly placed", "swapped"):
        assert sum(one["kind"] == kind for one in result["suspects"]) <= 3
    scores = [one["score"] for one in result["suspects"]]
    assert scores == sorted(scores, reverse=True)
    assert len(found(edgegd_command, run_copy, "--scores", "objectlab", "--variant", "ptq")["images"]) == 8
    monkeypatch.setattr("edgegd.pipeline.training_images.AT_A_TIME", 3)
    assert found(edgegd_command, run_copy, "--suspects", "3") == result  # however many are looked at together
    assert found(edgegd_command, run_copy, "--suspects", "0")["suspects"] == []


def test_the_report_shows_it_until_the_run_has_other_files(run_copy: Path, edgegd_command: Command) -> None:
    outcome = edgegd_command("labels", run_copy)
    assert outcome.code == 0 and "Hardest images" in outcome.out
    sentence = json.loads((run_copy / "training-images.json").read_text())["sentence"]
    assert edgegd_command("report", run_copy).code == 0
    text = (run_copy / "report.md").read_text()
    assert "## Training images and suspected labels" in text and sentence[:40] in text
    assert json.loads((run_copy / "report.json").read_text())["training_images"]["images"] == 8
    stored = json.loads((run_copy / "training-images.json").read_text())
    stored["made_of"]["fp32.onnx"] = "of another file"
    (run_copy / "training-images.json").write_text(json.dumps(stored))
    assert edgegd_command("report", run_copy).code == 0
    assert "suspected labels" not in (run_copy / "report.md").read_text()
    (run_copy / "training-images.json").write_text("[]")
    outcome = edgegd_command("report", run_copy)
    assert outcome.code == 53 and "training-images.json" in outcome.err


def test_a_run_without_losses_has_suspects_all_the_same(run_copy: Path, edgegd_command: Command) -> None:
    nothing = {"epochs": np.zeros(0, np.int64), "losses": np.zeros((0, 8), np.float32)}
    replace(run_copy, "descent-images.safetensors", safetensors.numpy.save(nothing))
    mixed = found(edgegd_command, run_copy)
    assert "every image was part of a mosaic" in mixed["sentence"] and mixed["counts"] == {"not judged": 8}
    recipe = (run_copy / "recipe.yaml").read_text()
    (run_copy / "recipe.yaml").write_text(
        recipe.replace("head: 0.0", "head: 1.0", 1).replace("labels: true", "labels: false", 1)
    )
    assert "QAT used no labels" in found(edgegd_command, run_copy)["sentence"]
    (run_copy / "descent-images.safetensors").unlink()
    earlier = found(edgegd_command, run_copy)
    assert "of an earlier version" in earlier["sentence"] and earlier["epochs"] == 0
    assert all(row["losses"] == [] and row["last_loss"] is None for row in earlier["images"])
    assert earlier["suspects"] == mixed["suspects"] and earlier["hardest"]


def test_what_is_not_as_it_was_is_named(run_copy: Path, edgegd_command: Command) -> None:
    before = {path.name for path in run_copy.iterdir()}
    for content in (b"no", safetensors.numpy.save({"epochs": np.zeros(1, np.int64), "losses": np.zeros((1, 7), "f4")})):
        replace(run_copy, "descent-images.safetensors", content)
        outcome = edgegd_command("labels", run_copy)
        assert outcome.code == 53 and "descent-images.safetensors" in outcome.err
    (run_copy / "descent-images.safetensors").write_bytes(b"damaged")
    assert edgegd_command("labels", run_copy).code == 53
    data = json.loads((run_copy / "data.json").read_text())
    moved = [path.replace("/images/", "/elsewhere/images/") for path in data["train_images"][:2]]
    replace(run_copy, "data.json", json.dumps(data | {"train_images": moved + data["train_images"][2:]}).encode())
    outcome = edgegd_command("labels", run_copy)
    assert outcome.code == 21 and "2 of the run's 8 training images" in outcome.err and moved[0] in outcome.err
    sized = [[content[0] + 1, *content[1:]] for content in data["contents"]]
    replace(run_copy, "data.json", json.dumps(data | {"contents": sized}).encode())
    (run_copy / "descent-images.safetensors").unlink()
    outcome = edgegd_command("labels", run_copy)
    assert outcome.code == 53 and "is not the image that stage `data` read" in outcome.err
    (run_copy / "qat.onnx").unlink()
    outcome = edgegd_command("labels", run_copy, "--variant", "qat")
    assert outcome.code == 53 and "qat.onnx" in outcome.err and "edgegd export" in outcome.err
    assert {path.name for path in run_copy.iterdir()} == before - {"qat.onnx", "descent-images.safetensors"}


def test_a_folder_without_a_run(tmp_path: Path, edgegd_command: Command) -> None:
    assert edgegd_command("labels", tmp_path).code == 50
    assert edgegd_command("labels", tmp_path, "--suspects", "-1").code == 2
