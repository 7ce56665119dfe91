"""Small float graphs with addresses, as the exporter would write them; nothing here needs torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgegd.export.graph_pass import note
from edgegd.export.insert.base import Insertion
from edgegd.export.traced_graph import Traced, write_trace
from edgegd.plan.planning import build_plan
from edgegd.plan.profiles.table import HeadPaths
from edgegd.plan.quant_plan import QuantPlan
from edgegd.plan.quantized_state import QuantizedState, Range, integer_convolutions
from edgegd.plan.traced_op import TracedOp

NO_HEAD = HeadPaths("", frozenset())


@dataclass
class FloatGraph:
    """A float graph that grows: `add` writes the nodes of one operation, and its line of the trace."""

    shape: tuple[int, ...] = (1, 4, 6, 6)
    opset: int = 17
    nodes: list[Any] = field(default_factory=list)
    initializers: dict[str, np.ndarray] = field(default_factory=dict)
    parameters: list[str] = field(default_factory=list)
    ops: list[TracedOp] = field(default_factory=list)

    def add(
        self,
        address: str,
        operator: str,
        inputs: list[str],
        sources: tuple[str, ...],
        shape: tuple[int, ...],
        numbers: tuple[float, ...] = (),
        outputs: int = 1,
        **attributes: Any,
    ) -> str:
        """One operation of one node; the name of its (first) result."""
        module, operation, _ = address.rsplit(":", 2)
        name = address if operator == "Conv" else f"{address}/{operator}"
        made = [f"{address}/{operator}_output_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, made, name, **attributes))
        self.ops.append(TracedOp(address, operation, module, sources, shape, numbers))
        return made[0]

    def convolution(self, module: str, x: str, source: str, weight: np.ndarray, bias: np.ndarray | None = None) -> str:
        """A convolution of 1 x 1; `weight` (C_out, C_in, 1, 1)."""
        names = [f"{module}.weight"] + ([f"{module}.bias"] if bias is not None else [])
        self.initializers |= dict(zip(names, [weight] if bias is None else [weight, bias], strict=True))
        self.parameters += names
        shape = (1, len(weight), *self.shape[2:])
        return self.add(f"{module}:conv2d:0", "Conv", [x, *names], (source,), shape)

    def silu(self, module: str, x: str, source: str, shape: tuple[int, ...]) -> str:
        """A SiLU, of the two nodes that the exporter writes."""
        address = f"{module}:silu:0"
        gate, result = f"{address}/Sigmoid_output_0", f"{address}/Mul_output_0"
        self.nodes.append(helper.make_node("Sigmoid", [x], [gate], f"{address}/Sigmoid"))
        self.nodes.append(helper.make_node("Mul", [x, gate], [result], f"{address}/Mul"))
        self.ops.append(TracedOp(address, "silu", module, (source,), shape))
        return result

    def model(self, output: str) -> onnx.ModelProto:
        """The graph whose output is the value `output`, renamed to output0."""
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in self.nodes]
        for node in nodes:
            for names in (node.input, node.output):
                names[:] = ["output0" if name == output else name for name in names]
        graph = helper.make_graph(
            nodes,
            "small",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info("output0", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(value, name) for name, value in self.initializers.items()],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)
        write_trace(made, Traced(tuple(self.ops), NO_HEAD, tuple(self.parameters)))
        return made

    def plan(self, profile: str = "x86-vnni", **changes: Any) -> QuantPlan:
        """The plan of the rules."""
        return build_plan(tuple(self.ops), NO_HEAD, profile, imgsz=self.shape[2:], **changes)

    def state(self, plan: QuantPlan) -> QuantizedState:
        """Ranges of scale 1/32, 1/64 ... by turns, zero point 3 where it may be; weight scales by the largest."""
        ranges = {}
        for index, group in enumerate(dict.fromkeys(plan.groups.values())):
            learns = next(tensor.learns for tensor in plan.tensors if tensor.group == group)
            ranges[group] = Range(np.float32(2.0 ** (-5 - index % 3)), 3 if learns == "range" else 0)
        scales = {}
        for op in integer_convolutions(plan):
            weight = self.initializers[f"{op.weight}.weight"]
            largest = np.abs(weight).reshape(len(weight), -1).max(1)
            scales[op.weight] = (largest / np.float32(plan.weight_format.qmax)).astype(np.float32)
        return QuantizedState({name: self.initializers[name] for name in self.parameters}, ranges, scales)


@pytest.fixture
def float_graph() -> type[FloatGraph]:
    """The builder of small graphs."""
    return FloatGraph


@pytest.fixture
def rewritten() -> Callable[..., onnx.ModelProto]:
    """rewritten(kinds, small, output, plan, state=None): the graph after these passes, whatever they need."""

    def run(
        kinds: list[Any],
        small: FloatGraph,
        output: str,
        plan: QuantPlan,
        state: QuantizedState | None = None,
        trace: list[TracedOp] | None = None,
    ) -> onnx.ModelProto:
        model = ir.from_proto(small.model(output))
        ops = {op.address: op for op in (small.ops if trace is None else trace)}
        insertion = Insertion(plan, state or small.state(plan), ops, tuple(small.parameters))
        for kind in kinds:
            note(model, *kind.needs)
            kind(insertion)(model)
        return ir.to_proto(model)

    return run


@pytest.fixture
def outputs() -> Callable[..., list[np.ndarray]]:
    """outputs(model, x, optimized=True, wanted=None): what onnxruntime computes."""

    def run(model: onnx.ModelProto, x: np.ndarray, optimized: bool = True) -> list[np.ndarray]:
        options = onnxruntime.SessionOptions()
        levels = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        return session.run(None, {"images": x})

    return run
