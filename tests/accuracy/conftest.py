"""Real detections on real images: the float BCCD checkpoint, exported by Ultralytics, run by the runtime."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest

from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.runtime.contract import ModelContract, OutputContract, Preprocessing

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
BCCD_NAMES = ("RBC", "WBC", "Platelets")


@pytest.fixture(scope="session")
def bccd_truth() -> GroundTruth:
    images = sorted((SHARED / "data/bccd/images/val").glob("*.jpg"))
    if not images:
        pytest.skip("../shared/data/bccd is absent")
    return GroundTruth.from_yolo(images, BCCD_NAMES)


@pytest.fixture(scope="session")
def bccd_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The raw-output ONNX file of the BCCD checkpoint, by Ultralytics' exporter, with edgegd metadata added."""
    checkpoint = SHARED / "models/bccd-yolo26n-320.pt"
    if not checkpoint.is_file():
        pytest.skip("../shared/models/bccd-yolo26n-320.pt is absent")
    from ultralytics import YOLO

    folder = tmp_path_factory.mktemp("bccd")
    shutil.copyfile(checkpoint, folder / "bccd.pt")
    path = Path(YOLO(folder / "bccd.pt").export(format="onnx", imgsz=320, simplify=False, verbose=False))
    model = onnx.load(path)
    shape = tuple(side.dim_value for side in model.graph.output[0].type.tensor_type.shape.dim)
    contract = ModelContract(Preprocessing((320, 320)), OutputContract("raw", shape), BCCD_NAMES, stride=32)
    onnx.helper.set_model_props(
        model, {**{entry.key: entry.value for entry in model.metadata_props}, **contract.to_metadata()}
    )
    onnx.save(model, path)
    return path
