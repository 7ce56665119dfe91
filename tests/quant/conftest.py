"""Small deployed detectors with random weights, their traces and plans; small ONNX graphs with Q/DQ pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgegd.detectors.deployment import deploy, head_paths
from edgegd.plan.planning import build_plan
from edgegd.plan.profiles.table import HeadPaths
from edgegd.plan.quant_plan import QuantPlan
from edgegd.plan.traced_op import TracedOp
from edgegd.quant.tracing import trace

torch.set_num_threads(1)


@dataclass(frozen=True)
class Deployed:
    """A deployed model with its head, its trace and its plan."""

    model: Any
    head: HeadPaths
    ops: tuple[TracedOp, ...]
    plan: QuantPlan


def _random_detector(architecture: str) -> Any:
    """An undeployed DetectionModel in evaluation mode; its BatchNorm statistics are no identity."""
    from ultralytics import RTDETR, YOLO

    torch.manual_seed(0)
    model = (RTDETR if "rtdetr" in architecture else YOLO)(f"{architecture}.yaml").model.eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, 0, 0.1)
    return model


@cache
def _deployed(architecture: str, end2end: bool | None) -> Deployed:
    model = deploy(_random_detector(architecture), end2end=end2end)
    head = head_paths(model)
    ops = trace(model, torch.zeros(1, 3, 64, 64))
    return Deployed(model, head, ops, build_plan(ops, head, "x86-vnni", imgsz=(64, 64)))


@pytest.fixture(scope="session")
def random_detector() -> Callable[[str], Any]:
    """random_detector(architecture): a new undeployed model in evaluation mode."""
    return _random_detector


@pytest.fixture(scope="session")
def deployed() -> Callable[..., Deployed]:
    """deployed(architecture, end2end=None): made once a session; tests must not change its model."""
    return lambda architecture, end2end=None: _deployed(architecture, end2end)


class QdqGraph:
    """An ONNX graph of float inputs, built call by call; methods return names of tensors."""

    def __init__(self, folder: Path, **shapes: list[int]) -> None:
        self.folder = folder
        self.inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, s) for name, s in shapes.items()]
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Any) -> str:
        """An initializer."""
        self.constants.append(numpy_helper.from_array(np.asarray(value), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output."""
        self.nodes.append(helper.make_node(kind, list(inputs), [f"t{len(self.nodes)}"], **attributes))
        return self.nodes[-1].output[0]

    def qdq(self, x: str, scale: float = 0.05, zero_point: int = 10, dtype: type = np.uint8) -> str:
        """QuantizeLinear and DequantizeLinear; the result is DequantizeLinear's."""
        parameters = self.constant(np.float32(scale)), self.constant(dtype(zero_point))
        return self.op("DequantizeLinear", self.op("QuantizeLinear", x, *parameters), *parameters)

    def conv(self, x: str, scale: float = 0.05) -> str:
        """A convolution of 8 to 16 channels with int8 weights and int32 biases for an input of this scale."""
        rng = np.random.default_rng(0)
        weight = self.op(
            "DequantizeLinear",
            self.constant(rng.integers(-60, 60, (16, 8, 3, 3)).astype(np.int8)),
            self.constant(np.full(16, 0.01, np.float32)),
            axis=0,
        )
        bias = self.op(
            "DequantizeLinear",
            self.constant(rng.integers(-99, 99, 16).astype(np.int32)),
            self.constant(np.full(16, 0.01 * scale, np.float32)),
            axis=0,
        )
        return self.op("Conv", x, weight, bias, pads=[1] * 4)

    def session(self, *outputs: str) -> tuple[onnxruntime.InferenceSession, Counter[str]]:
        """The graph in onnxruntime with all optimizations, and the kernels that it was optimized to."""
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "graph", self.inputs, values, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(self.folder / "optimized.onnx")
        options.log_severity_level, options.intra_op_num_threads = 3, 1
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        return session, Counter(node.op_type for node in onnx.load(self.folder / "optimized.onnx").graph.node)


@pytest.fixture
def qdq_graph(tmp_path: Path) -> Callable[..., QdqGraph]:
    """qdq_graph(x=[1, 8, 16, 16], ...): an empty graph with these float inputs."""
    return lambda **shapes: QdqGraph(tmp_path, **shapes)
