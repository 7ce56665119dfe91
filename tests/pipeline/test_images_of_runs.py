"""`edgegd images`, by the command. Oracles: models that find a known part of the boxes; a finished run's own files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pycocotools")

from played_accuracy import make_set, play_run

Command = Callable[..., Any]


def found(command: Command, *arguments: object) -> dict[str, Any]:
    outcome = command("images", *arguments, "--json")
    assert outcome.code == 0, outcome.err
    result: dict[str, Any] = json.loads(outcome.out)
    return result


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 images of two boxes, found at scores 0.9 and 0.5; PTQ misses those of the first 5. No model can be run."""
    place = tmp_path_factory.mktemp("images")
    return play_run(place / "run", make_set(place / "set", 20), {"fp32": 0, "ptq": 5, "qat": 0}).path


def test_the_images_whose_boxes_are_lost_come_first(played: Path, edgegd_command: Command) -> None:
    result = found(edgegd_command, played, "--variant", "ptq", "--worst", "0")
    assert json.loads((played / "images.json").read_text()) == result
    rows = result["images"]
    assert [row["lost"] for row in rows] == [2] * 5 + [0] * 15 and result["lost"] == 10
    assert rows[0]["damage"] == pytest.approx(729 / 730 * 27 / 27 + 27 / 28, abs=0.05)
    assert [row["damage"] > 0 for row in rows] == [True] * 5 + [False] * 15
    assert rows[0]["loss"] == {"reference": pytest.approx(0, abs=1e-4), "model": 1.0}
    assert result["kinds"]["model"]["missed"] == 10 and result["transitions"]["found"]["missed"] == 10
    assert rows[0]["classes"] == [1, 0] and [one["lost"] for one in result["by_class"]] == [9, 1]
    assert rows[0]["size"] == [100, 100] and rows[0]["picture"] is None and result["names"] == ["cell", "dust"]
    assert "PTQ lost 10 of FP32's 40 boxes, gained 0 and moved 0 on 20 images" in result["sentence"]


def test_what_needs_no_pixels_works_without_the_images(played: Path, tmp_path: Path, edgegd_command: Command) -> None:
    """The first image was moved, the second has another content: no model is asked for."""
    folder = shutil.copytree(played, tmp_path / "run")
    images = [Path(row["image"]) for row in found(edgegd_command, folder, "--worst", "0")["images"]]
    kept = [path.read_bytes() for path in images[:2]]
    try:
        images[0].unlink()
        images[1].write_bytes(b"another image")
        result = found(edgegd_command, folder, "--variant", "ptq", "--worst", "2")
        text = edgegd_command("images", folder, "--variant", "ptq", "--worst", "2").out
    finally:
        for path, content in zip(images, kept, strict=False):
            path.write_bytes(content)
    assert result["most_damaged"] == [str(path) for path in images[:2]]
    assert [row["image"] for row in result["left_out"]] == result["most_damaged"]
    assert "not there any more" in result["left_out"][0]["reason"]
    assert "another content" in result["left_out"][1]["reason"]
    assert result["worst"] == [] and result["lost"] == 10 and "were not looked at" in text


def test_a_model_that_hurts_nothing(played: Path, edgegd_command: Command) -> None:
    result = found(edgegd_command, played, "--variant", "qat")
    assert result["most_damaged"] == [] and result["lost"] == 0 and "of the damage" not in result["sentence"]


def test_one_image_whose_boxes_nobody_finds(tmp_path: Path, edgegd_command: Command) -> None:
    run = play_run(tmp_path / "run", make_set(tmp_path / "set", 1), {"fp32": 1, "ptq": 1, "qat": 1})
    result = found(edgegd_command, run.path)
    assert result["reference_boxes"] == 0 and result["kinds"]["model"]["missed"] == 2
    assert result["images"][0]["loss"] == {"reference": 1.0, "model": 1.0} and result["images"][0]["damage"] == 0
    assert edgegd_command("images", run.path).code == 0


def test_what_cannot_be_asked(played: Path, tmp_path: Path, edgegd_command: Command) -> None:
    assert edgegd_command("images", played, "--variant", "fp32").code == 2
    outcome = edgegd_command("images", played, "--conf", "0.0005")
    assert outcome.code == 10 and "from 0.001 to 1" in outcome.err
    folder = shutil.copytree(played, tmp_path / "run")
    (folder / "detections.safetensors").unlink()
    before = (folder / "images.json").exists()
    outcome = edgegd_command("images", folder)
    assert outcome.code == 53 and "edgegd run" in outcome.err and before == (folder / "images.json").exists()


def test_a_finished_run_gets_tensors_pictures_and_a_section(run_copy: Path, edgegd_command: Command) -> None:
    cv2 = pytest.importorskip("cv2")
    result = found(edgegd_command, run_copy, "--variant", "ptq", "--conf", "0.01", "--worst", "2")
    assert result["left_out"] == [] and len(result["most_damaged"]) == len(result["worst"]) == 2
    addresses = {line["address"] for line in json.loads((run_copy / "plan.json").read_text())["tensors"]}
    for image in result["worst"]:
        assert len(image["tensors"]) == 8 and {one["address"] for one in image["tensors"]} <= addresses
    pictures = [row["picture"] for row in result["images"] if row["picture"]]
    drawn = [cv2.imread(str(run_copy / picture)) for picture in pictures]
    assert len(drawn) == 2 and all(max(one.shape[:2]) >= 640 for one in drawn)
    (run_copy / "images/000099.jpg").write_bytes(b"of an earlier call")
    assert len(found(edgegd_command, run_copy, "--variant", "ptq", "--conf", "0.01", "--worst", "1")["worst"]) == 1
    assert len(list((run_copy / "images").iterdir())) == 1
    assert edgegd_command("report", run_copy).code == 0
    text, report = (run_copy / "report.md").read_text(), json.loads((run_copy / "report.json").read_text())
    assert "## Images" in text and "Tensors of these images" in text and len(report["images"]["images"]) == 1
    whole = json.loads((run_copy / "images.json").read_text())
    (run_copy / "images.json").write_text(json.dumps({key: value for key, value in whole.items() if key != "kinds"}))
    outcome = edgegd_command("report", run_copy)
    assert outcome.code == 53 and "images.json" in outcome.err
    (run_copy / "images.json").write_text(json.dumps(whole | {"detections": "of other files"}))
    assert edgegd_command("report", run_copy).code == 0
    assert "## Images" not in (run_copy / "report.md").read_text()
