"""Whole runs, from the checkpoint to latency, of rectangles and of one channel. Oracles: onnxruntime, Ultralytics."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

Command = Callable[..., Any]
torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
NAMES = {0: "pedestrian", 1: "car", 2: "traffic sign"}
VAL_IMAGES = 2
MODELS = ("yolo26n", "yolo11n", "yolov8n")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """checkpoint(architecture, channels): random weights whose boxes and scores differ from place to place."""
    from ultralytics import YOLO
    from ultralytics.nn.tasks import DetectionModel

    folder = tmp_path_factory.mktemp("weights")

    def make(architecture: str, channels: int) -> Path:
        path = folder / f"{architecture}-{channels}.pt"
        if path.exists():
            return path
        torch.manual_seed(0)
        model: Any = DetectionModel(f"{architecture}.yaml", ch=channels, nc=len(NAMES), verbose=False)
        model.names = NAMES
        normalizations = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        for module in normalizations:
            module.momentum = 1.0  # statistics of the images: without them a random model's activations vanish
        coarse = torch.rand(2, channels, 8, 8)
        with torch.no_grad():
            model.train()(torch.nn.functional.interpolate(coarse, (128, 128), mode="bilinear"))
        for module in normalizations:
            module.momentum = 0.03
        head = model.eval().model[-1]
        for name in ("cv2", "cv3", "one2one_cv2", "one2one_cv3"):
            for branch in getattr(head, name, None) or ():
                torch.nn.init.normal_(branch[-1].weight, 0, 0.1 if name.endswith("cv3") else 0.02)
                torch.nn.init.constant_(branch[-1].bias, -3.5 if name.endswith("cv3") else 1.0)
        yolo = YOLO(f"{architecture}.yaml")
        yolo.model, yolo.ckpt = model, {}
        yolo.save(path)
        return path

    return make


@pytest.fixture(scope="module")
def data_of(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """data_of(channels): a YAML of the tiny set's first images; one that says nothing of channels for three."""
    folder = tmp_path_factory.mktemp("yaml")
    for split, count in (("train", 4), ("val", VAL_IMAGES)):
        images = sorted((tiny_set / f"images/{split}").iterdir())[:count]
        (folder / f"{split}.txt").write_text("".join(f"{image}\n" for image in images))

    def make(channels: int) -> Path:
        path = folder / f"{channels}.yaml"
        said = {} if channels == 3 else {"channels": channels}
        path.write_text(yaml.safe_dump({"train": "train.txt", "val": "val.txt", "names": NAMES, **said}))
        return path

    return make


@pytest.fixture
def recipe_of(
    checkpoint: Callable[[str, int], Path], data_of: Callable[[int], Path], tmp_path: Path
) -> Callable[..., Path]:
    """recipe_of(architecture, imgsz, channels, data_channels): a recipe of seconds."""

    def make(architecture: str, imgsz: Any, channels: int = 3, data_channels: int | None = None) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(
            yaml.safe_dump(
                {
                    "version": 1,
                    "model": {"weights": str(checkpoint(architecture, channels)), "imgsz": imgsz},
                    "data": {"source": "yaml", "path": str(data_of(data_channels or channels))},
                    "quant": {"calibration_images": 2},
                    "train": {"epochs": 1, "batch": 4, "mosaic": 0.5},
                    "latency": {"launches": 1, "quads": 1, "block_s": 0.02, "warmup_s": 0.1},
                    "target": {"profile": "x86-avx2"},  # weights of 7 bits: every CPU computes the same
                }
            )
        )
        return path

    return make


def _inputs(path: Path) -> tuple[list[int], int]:
    (image,) = onnx.load(path).graph.input
    tensor = image.type.tensor_type
    return [dimension.dim_value for dimension in tensor.shape.dim], tensor.elem_type


def _check_run(folder: Path, size: tuple[int, int], channels: int) -> None:
    for name in ("fp32", "ptq", "qat"):
        assert _inputs(folder / f"{name}.onnx") == ([1, channels, *size], onnx.TensorProto.FLOAT)
    for name in ("ptq.edge", "qat.edge"):
        assert _inputs(folder / f"{name}.onnx") == ([1, *size, channels], onnx.TensorProto.UINT8)
    verified = json.loads((folder / "verify.json").read_text())
    for variant in ("ptq", "qat"):
        assert verified["edge"][variant]["images"] == VAL_IMAGES and verified["edge"][variant]["numbers"] > 0
        whole = verified["ladder"][variant]["steps"][-1]
        assert (whole["below"], whole["above"]) == ("torch fake-quantized", "onnxruntime optimized")
        assert whole["codes"]["codes"] > 1e5 and whole["codes"]["equal_share"] == 1.0
    assert json.loads((folder / "plan.json").read_text())["imgsz"] == list(size)
    assert json.loads((folder / "accuracy.json").read_text())["fp32"]["images"] == VAL_IMAGES
    assert set(json.loads((folder / "latency.json").read_text())["models"]) >= {"fp32", "qat"}


def _check_ultralytics_agrees(folder: Path, image: Path, channels: int) -> None:
    """YOLO("qat.onnx") finds in an image file what the Detector finds."""
    from ultralytics import YOLO

    from edgegd.runtime import Detector, read_image

    detector = Detector(folder / "qat.onnx", conf=0.3)
    found = detector(read_image(image, channels))
    edge = Detector(folder / "qat.edge.onnx", conf=0.3)(read_image(image, channels))
    size = detector.contract.preprocessing.imgsz
    (theirs,) = YOLO(folder / "qat.onnx", task="detect").predict(str(image), conf=0.3, iou=0.7, rect=False, imgsz=size)
    assert len(found) > 0
    np.testing.assert_array_equal(found.xyxy, edge.xyxy)
    np.testing.assert_allclose(found.scores, theirs.boxes.conf.numpy(), atol=1e-5)
    np.testing.assert_allclose(found.xyxy, theirs.boxes.xyxy.numpy(), atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", MODELS)
def test_a_rectangle_from_float_to_latency(
    edgegd_command: Command, recipe_of: Callable[..., Path], tiny_set: Path, tmp_path: Path, architecture: str
) -> None:
    run = tmp_path / "run"
    outcome = edgegd_command("run", recipe_of(architecture, [64, 96]), "--run-dir", run)
    assert outcome.code == 0, outcome.err
    _check_run(run, (64, 96), 3)
    assert f"at 64x96 px on {VAL_IMAGES} validation images" in (run / "report.md").read_text()
    _check_ultralytics_agrees(run, sorted((tiny_set / "images/val").iterdir())[0], 3)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", MODELS)
def test_one_channel_from_float_to_latency(
    edgegd_command: Command, recipe_of: Callable[..., Path], tiny_set: Path, tmp_path: Path, architecture: str
) -> None:
    run = tmp_path / "run"
    outcome = edgegd_command("run", recipe_of(architecture, 64, channels=1), "--run-dir", run)
    assert outcome.code == 0, outcome.err
    _check_run(run, (64, 64), 1)
    image = sorted((tiny_set / "images/val").iterdir())[0]
    _check_ultralytics_agrees(run, image, 1)
    shown = edgegd_command("predict", run / "qat.edge.onnx", image, "--save", tmp_path / "drawn", "--json")
    assert shown.code == 0 and json.loads(shown.out)[0]["saved"].endswith(".png")


@pytest.mark.slow
def test_an_architecture_is_trained_with_the_channels_of_the_data_set(
    edgegd_command: Command, recipe_of: Callable[..., Path], tmp_path: Path
) -> None:
    from edgegd.detectors.deployment import input_channels
    from edgegd.detectors.float_checkpoint import open_checkpoint

    run = tmp_path / "run"
    changes = ["model.weights=yolov8n.yaml", "model.float.epochs=1", "model.float.batch=4"]
    options = [f"--set={change}" for change in changes]
    outcome = edgegd_command(
        "run", recipe_of("yolov8n", [64, 96], channels=1), *options, "--run-dir", run, "--until", "ptq"
    )
    assert outcome.code == 0, outcome.err
    model = open_checkpoint(run / "float.pt")
    assert input_channels(model) == 1 and model.yaml["channels"] == 1
    assert json.loads((run / "plan.json").read_text())["imgsz"] == [64, 96]


@pytest.mark.parametrize(("channels", "data_channels"), [(1, 3), (3, 1), (3, 4)])
def test_a_checkpoint_of_other_channels_is_refused_at_the_start(
    edgegd_command: Command, recipe_of: Callable[..., Path], tmp_path: Path, channels: int, data_channels: int
) -> None:
    recipe = recipe_of("yolov8n", 64, channels, data_channels)
    outcome = edgegd_command("run", recipe, "--run-dir", tmp_path / "run", "--until", "data")
    assert outcome.code == 36 and "takes images of another number of channels than the data set has" in outcome.err
    assert not (tmp_path / "run/data.json").exists()


@pytest.mark.parametrize(
    ("imgsz", "words"),
    [
        ([64, 100], "set model.imgsz to [64, 96] or [64, 128]"),
        ([40, 40], "set model.imgsz to 32 or 64"),
        (100, "set model.imgsz to 96 or 128"),
        ([64, 33], "set model.imgsz to [64, 32] or 64"),
    ],
)
def test_a_size_that_does_not_fit_the_stride_is_refused_at_the_start(
    edgegd_command: Command, recipe_of: Callable[..., Path], tmp_path: Path, imgsz: Any, words: str
) -> None:
    outcome = edgegd_command("run", recipe_of("yolov8n", imgsz), "--run-dir", tmp_path / "run", "--until", "data")
    assert outcome.code == 34 and words in outcome.err


@pytest.mark.parametrize("channels", [0, -1, 9, "gray", 1.0, True])
def test_channels_that_no_image_has_are_refused(
    edgegd_command: Command,
    recipe_of: Callable[..., Path],
    data_of: Callable[[int], Path],
    tmp_path: Path,
    channels: Any,
) -> None:
    recipe = recipe_of("yolov8n", 64)
    good = data_of(3)
    path, said = tmp_path / "data.yaml", yaml.safe_load(good.read_text())
    path.write_text(yaml.safe_dump({**said, "path": str(good.parent), "channels": channels}))
    outcome = edgegd_command("run", recipe, "--run-dir", tmp_path / "run", "--set", f"data.path={path}")
    assert outcome.code == 20 and "`channels` must be a whole number from 1 to 8" in outcome.err
