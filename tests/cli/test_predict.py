"""`edgegd predict` refuses what is no edgegd model, never overwrites, and draws one file for each image."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgegd.errors import EdgegdError, MetadataError, OnnxUnreadableError, OutputContractError

Command = Callable[..., Any]
onnx = pytest.importorskip("onnx")
pytest.importorskip("torch")


@pytest.fixture
def image(tiny_set: Path) -> Path:
    return sorted((tiny_set / "images/val").iterdir())[0]


def missing(model: Path) -> None:
    model.unlink()


def truncated(model: Path) -> None:
    model.write_bytes(model.read_bytes()[: model.stat().st_size // 2])


def no_metadata(model: Path) -> None:
    graph = onnx.load(model)
    del graph.metadata_props[:]
    onnx.save(graph, model)


def other_output(model: Path) -> None:
    graph = onnx.load(model)
    for entry in graph.metadata_props:
        if entry.key == "edgegd.output":
            found = json.loads(entry.value)
            raw = {"kind": "raw", "shape": [1, 7, 84]}
            entry.value = json.dumps(raw if found["kind"] == "end2end" else {"kind": "end2end", "shape": [1, 300, 6]})
    onnx.save(graph, model)


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (missing, OnnxUnreadableError),
        (truncated, OnnxUnreadableError),
        (no_metadata, MetadataError),
        (other_output, OutputContractError),
    ],
)
def test_what_is_no_edgegd_model_is_refused(
    edgegd_command: Command,
    finished_run: Path,
    image: Path,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    error: type[EdgegdError],
) -> None:
    from edgegd.runtime.detector import Detector

    model = Path(shutil.copy(finished_run / "qat.onnx", tmp_path / "model.onnx"))
    spoil(model)
    outcome = edgegd_command("predict", model, image, "--save", tmp_path / "drawn", "--json")
    assert outcome.code == error.exit_code and "model.onnx" in outcome.err and "Traceback" not in outcome.err
    assert json.loads(outcome.out)["error"] == error.__name__ and not (tmp_path / "drawn").exists()
    with pytest.raises(error, match=r"model\.onnx"):
        Detector(model)


def test_nothing_is_overwritten_and_nothing_run_before(edgegd_command: Command, image: Path, tmp_path: Path) -> None:
    (tmp_path / f"{image.stem}.png").write_text("mine")
    outcome = edgegd_command("predict", tmp_path / "absent.onnx", image, "--save", tmp_path)
    assert outcome.code == 26 and f"{image.stem}.png exists already" in outcome.err
    assert (tmp_path / f"{image.stem}.png").read_text() == "mine"


def test_two_images_of_one_stem_are_two_files(
    edgegd_command: Command, finished_run: Path, image: Path, tiny_set: Path, tmp_path: Path
) -> None:
    import cv2

    other = Path(shutil.copy(sorted((tiny_set / "images/val").iterdir())[1], tmp_path / image.name))
    drawn, model = tmp_path / "drawn", finished_run / "qat.onnx"
    outcome = edgegd_command("predict", model, image, other, "--save", drawn, "--conf", 0.3, "--json")
    results = json.loads(outcome.out)
    assert outcome.code == 0 and [result["image"] for result in results] == [str(image), str(other)]
    assert [Path(result["saved"]).name for result in results] == [f"{image.stem}.png", f"{image.stem}-2.png"]
    assert sorted(path.name for path in drawn.iterdir()) == [f"{image.stem}-2.png", f"{image.stem}.png"]
    assert cv2.imread(results[0]["saved"]).tobytes() != cv2.imread(results[1]["saved"]).tobytes()
    assert all(found["score"] > 0.3 for result in results for found in result["detections"])


def test_an_unreadable_image_is_refused(edgegd_command: Command, finished_run: Path, tmp_path: Path) -> None:
    image, drawn = tmp_path / "image.jpg", tmp_path / "drawn"
    image.write_text("not an image")
    outcome = edgegd_command("predict", finished_run / "fp32.onnx", image, "--save", drawn)
    assert outcome.code == 23 and "image.jpg" in outcome.err and not drawn.exists()
