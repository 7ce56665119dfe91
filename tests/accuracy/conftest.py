"""Ground truth of real photographs and of drawn scenes, and exported checkpoints that detect in them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import onnx
import pytest

from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.runtime.contract import ModelContract, OutputContract, Preprocessing

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
BCCD_NAMES = ("RBC", "WBC", "Platelets")
STREETS_NAMES = ("pedestrian", "car", "traffic sign")


class Evaluated(NamedTuple):
    """A data set's boxes, and a raw-output ONNX file that finds them."""

    truth: GroundTruth
    model: Path


@pytest.fixture(scope="session")
def photographs(bccd_images: tuple[Path, ...]) -> GroundTruth:
    """The boxes of the photographs that the tests bring."""
    return GroundTruth.from_yolo(bccd_images, BCCD_NAMES)


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Evaluated]:
    """evaluated("streets"): the checkpoint that ships, on drawn scenes; evaluated("bccd"): BCCD's, on its val set,
    where there is a copy of both."""

    @cache
    def prepare(name: str) -> Evaluated:
        folder = tmp_path_factory.mktemp(name)
        if name == "streets":
            from edgegd.data.streets import make_streets

            make_streets(folder / "set", train=1, val=24, seed=0)
            images = sorted((folder / "set/images/val").iterdir())
            model = _exported(ROOT / "models/streets-yolo26n-320.pt", STREETS_NAMES, folder)
            return Evaluated(GroundTruth.from_yolo(images, STREETS_NAMES), model)
        images = sorted((SHARED / "data/bccd/images/val").glob("*.jpg"))
        checkpoint = SHARED / "models/bccd-yolo26n-320.pt"
        if not images or not checkpoint.is_file():
            pytest.skip("../shared/data/bccd or ../shared/models/bccd-yolo26n-320.pt is absent")
        return Evaluated(GroundTruth.from_yolo(images, BCCD_NAMES), _exported(checkpoint, BCCD_NAMES, folder))

    return prepare


def _exported(checkpoint: Path, names: tuple[str, ...], folder: Path) -> Path:
    """The raw-output ONNX file of a checkpoint, by Ultralytics' exporter, with edgegd metadata added."""
    from ultralytics import YOLO

    copy = shutil.copyfile(checkpoint, folder / "model.pt")
    path = Path(YOLO(copy).export(format="onnx", imgsz=320, simplify=False, verbose=False, end2end=False))
    model = onnx.load(path)
    shape = tuple(side.dim_value for side in model.graph.output[0].type.tensor_type.shape.dim)
    contract = ModelContract(Preprocessing((320, 320)), OutputContract("raw", shape), names, stride=32)
    onnx.helper.set_model_props(
        model, {**{entry.key: entry.value for entry in model.metadata_props}, **contract.to_metadata()}
    )
    onnx.save(model, path)
    return path
