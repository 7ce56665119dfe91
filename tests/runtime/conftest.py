"""Small ONNX models with a fixed output and edgegd metadata, and the checkpoint that ships exported by Ultralytics."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgegd.runtime.contract import ModelContract, OutputContract, Preprocessing

CHECKPOINT = Path(__file__).resolve().parents[2] / "models/streets-yolo26n-320.pt"
NAMES = ("pedestrian", "car", "traffic sign")


@pytest.fixture
def save_model(tmp_path: Path) -> Callable[..., Path]:
    """save_model(contract, output, metadata=None): a file whose output is `output`, plus 0 x the input's mean.

    Its input is the contract's: float32 NCHW, or uint8 NHWC.
    """

    def save(contract: ModelContract, output: np.ndarray, metadata: dict[str, str] | None = None) -> Path:
        image = contract.preprocessing
        image_type = onnx.TensorProto.UINT8 if image.takes_pixels else onnx.TensorProto.FLOAT
        graph = onnx.helper.make_graph(
            [
                onnx.helper.make_node("Cast", ["images"], ["values"], to=onnx.TensorProto.FLOAT),
                onnx.helper.make_node("ReduceMean", ["values"], ["mean"], keepdims=0),
                onnx.helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
                onnx.helper.make_node("Add", ["fixed", "nothing"], ["output0"]),
            ],
            "fixed",
            [onnx.helper.make_tensor_value_info("images", image_type, image.input_shape)],
            [onnx.helper.make_tensor_value_info("output0", onnx.TensorProto.FLOAT, output.shape)],
            [
                onnx.numpy_helper.from_array(output.astype(np.float32), "fixed"),
                onnx.numpy_helper.from_array(np.float32(0), "zero"),
            ],
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
        onnx.helper.set_model_props(model, contract.to_metadata() if metadata is None else metadata)
        path = tmp_path / "model.onnx"
        onnx.save(model, path)
        return path

    return save


@pytest.fixture(scope="session", params=["raw", "end2end"])
def shipped_onnx(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint that ships in either form, by Ultralytics' exporter, with edgegd metadata added."""
    from ultralytics import YOLO

    copy = shutil.copyfile(CHECKPOINT, tmp_path_factory.mktemp("shipped") / "model.pt")
    end2end = request.param == "end2end"
    path = Path(YOLO(copy).export(format="onnx", imgsz=320, simplify=False, verbose=False, end2end=end2end))
    model = onnx.load(path)
    shape = tuple(side.dim_value for side in model.graph.output[0].type.tensor_type.shape.dim)
    contract = ModelContract(Preprocessing((320, 320)), OutputContract(request.param, shape), NAMES, stride=32)
    onnx.helper.set_model_props(
        model, {**{entry.key: entry.value for entry in model.metadata_props}, **contract.to_metadata()}
    )
    onnx.save(model, path)
    return path
