"""Baselines that no gate could ever run are refused when they are set, and nothing is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgegd.errors import OnnxUnreadableError
from edgegd.latency.baseline.baseline import Baseline

onnx = pytest.importorskip("onnx")


def model(sides: list[Any], kind: int = 1) -> Any:
    """images -> MatMul with a weight of 64 x 64 -> output."""
    tensors = [onnx.helper.make_tensor_value_info(name, kind, sides) for name in ("images", "y")]
    dtype = np.float16 if kind == onnx.TensorProto.FLOAT16 else np.float32
    weight = onnx.numpy_helper.from_array(np.ones((64, 64), dtype), "weight")
    node = onnx.helper.make_node("MatMul", ["images", "weight"], ["y"])
    graph = onnx.helper.make_graph([node], "g", tensors[:1], tensors[1:], [weight])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("name", "sides", "kind", "reason"),
    [
        ("half", [1, 64], 10, "float32 or uint8"),
        ("dynamic", ["N", 64], 1, "sides are all fixed"),
        ("unknown", [None, 64], 1, "sides are all fixed"),
        ("double", [1, 64], 11, "float32 or uint8"),
    ],
    ids=lambda value: str(value),
)
def test_what_cannot_be_timed(tmp_path: Path, name: str, sides: list[Any], kind: int, reason: str) -> None:
    made = model(sides, kind)
    if kind == 11:
        made.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones((64, 64)), "weight"))
    onnx.save(made, tmp_path / f"{name}.onnx")
    with pytest.raises(OnnxUnreadableError, match=rf"(?s)cannot be a baseline.*{reason}"):
        Baseline.set(tmp_path / f"{name}.onnx", "b", static={}, root=tmp_path / "baselines")
    assert not (tmp_path / "baselines").exists()


def test_weights_in_a_second_file(tmp_path: Path) -> None:
    onnx.save_model(
        model([1, 64]), tmp_path / "two.onnx", save_as_external_data=True, location="two.bin", size_threshold=0
    )
    with pytest.raises(OnnxUnreadableError, match="weights in a second file"):
        Baseline.set(tmp_path / "two.onnx", "b", static={}, root=tmp_path / "baselines")
    assert not (tmp_path / "baselines").exists()
    onnx.save(onnx.load(tmp_path / "two.onnx"), tmp_path / "one.onnx")
    (tmp_path / "two.bin").unlink()
    assert Baseline.set(tmp_path / "one.onnx", "b", static={}, root=tmp_path / "baselines").model.is_file()


@pytest.mark.parametrize(
    "arguments",
    [
        ("baseline", "set", "two.onnx", "--name", "n"),
        ("gate", "one.onnx", "--baseline", "two.onnx"),
        ("gate", "two.onnx", "--baseline", "one.onnx"),
    ],
    ids=" ".join,
)
def test_commands_that_look_into_such_a_file(
    arguments: tuple[str, ...], tmp_path: Path, edgegd_command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save_model(model([1, 64]), "two.onnx", save_as_external_data=True, location="two.bin", size_threshold=0)
    onnx.save(model([1, 64]), "one.onnx")
    before = sorted(tmp_path.iterdir())
    outcome = edgegd_command(*arguments)
    assert outcome.code == OnnxUnreadableError.exit_code and "weights in a second file" in outcome.err
    assert sorted(tmp_path.iterdir()) == before


def test_no_model_has_its_own_error(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(OnnxUnreadableError, match="onnxruntime cannot load"):
        Baseline.set(tmp_path / "bad.onnx", "b", static={}, root=tmp_path / "baselines")
