"""torch -> ONNX: the trace of a model, with int8 weights, int32 biases and every node named by its address."""

from __future__ import annotations

import functools
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from edgegd.detectors.deployment import input_channels
from edgegd.errors import UnsupportedModelError
from edgegd.export.graph_forms import constants
from edgegd.network_size import NetworkSize, network_size
from edgegd.plan.formats import Format
from edgegd.plan.quant_plan import QuantPlan
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.nodes import ADDRESS, CODES
from edgegd.quant.tracing import AddressedMode

INPUT_NAME, OUTPUT_NAME = "images", "output0"
_IR_VERSION = 10  # the newest that every onnxruntime from 1.18 on reads
_MODULE_SCOPES = re.compile(r"^/.*?(?=[^/]*:\w+:\d+/)")  # what torch puts before an address: the path of modules


def trace_to_onnx(model: torch.nn.Module, imgsz: int | NetworkSize, opset: int) -> onnx.ModelProto:
    """The ONNX graph of `model` (float, or a QuantizedModel) for one image (1, C, H, W), in evaluation mode.

    `imgsz` is (H, W), or the side of a square; C is what the model takes.

    Uses torch's TorchScript exporter: its dynamo exporter takes fake quantization apart into arithmetic.
    """
    buffer: Any = io.BytesIO()  # torch's annotation knows paths only
    was_training = model.training
    model.eval()
    image = torch.zeros(1, input_channels(model), *network_size(imgsz), device=next(model.parameters()).device)
    try:
        with warnings.catch_warnings(), torch.no_grad(), _addressed(model):
            warnings.simplefilter("ignore")
            shape = tuple(model(image).shape)  # and fills the head's anchors, so that they are constants of the trace
            torch.onnx.export(
                model,
                (image,),
                buffer,
                opset_version=opset,
                dynamo=False,
                do_constant_folding=True,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise UnsupportedModelError(f"torch cannot export this model to ONNX: {error}") from error
    finally:
        model.train(was_training)
    graph = onnx.load_from_string(buffer.getvalue())
    graph.ir_version = _IR_VERSION
    # The exporter loses the shape behind operations that gather by index (RT-DETR's queries).
    for dimension, size in zip(graph.graph.output[0].type.tensor_type.shape.dim, shape, strict=True):
        dimension.dim_value = size
    _separate_equal_constants(graph.graph)
    _shorten_names(graph.graph)
    return graph


class _Addresses(AddressedMode):
    """Runs a float model as it is; that its operations have addresses names the exported nodes."""

    def on_operation(self, address: str, operation: str, func: Any, args: Any, kwargs: Any) -> Any:
        return func(*args, **kwargs)


@contextmanager
def _addressed(model: torch.nn.Module) -> Iterator[None]:
    if isinstance(model, QuantizedModel):  # its forward pass gives addresses itself
        yield
        return
    before, forward = model.__dict__.get("forward"), model.forward

    @functools.wraps(forward)
    def with_addresses(*args: Any, **kwargs: Any) -> Any:
        with _Addresses().running(model):
            return forward(*args, **kwargs)

    model.forward = with_addresses
    try:
        yield
    finally:
        del model.forward
        if before is not None:
            model.forward = before


def _shorten_names(graph: onnx.GraphProto) -> None:
    # `/model/model.0/conv/model.0.conv:conv2d:0/Conv_output_0` -> `model.0.conv:conv2d:0/Conv_output_0`; the address
    # names the path of modules already. onnxruntime names what it makes of nodes after them, or after their outputs.
    for node in graph.node:
        node.name = _MODULE_SCOPES.sub("", node.name)
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                names[position] = _MODULE_SCOPES.sub("", name)
    del graph.value_info[:]  # it has the names of before


def _separate_equal_constants(graph: onnx.GraphProto) -> None:
    # The exporter stores equal parameters once and gives the others an Identity node; each needs its own name here.
    stored = {initializer.name: initializer for initializer in graph.initializer}
    for node in [n for n in graph.node if n.op_type == "Identity" and n.input[0] in stored]:
        copied = graph.initializer.add()
        copied.CopyFrom(stored[node.input[0]])
        copied.name = node.output[0]
        graph.node.remove(node)


def name_codes(graph: onnx.ModelProto) -> None:
    """Names every quantized tensor `ADDRESS/codes`, after the address that its fake quantizer left in its node.

    The further results of one operation (a split) are named `ADDRESS#1/codes` and so on.
    """
    seen: Counter[str] = Counter()
    renamed = {}
    for node in graph.graph.node:
        for attribute in [a for a in node.attribute if a.name == ADDRESS]:
            address = attribute.s.decode()
            node.attribute.remove(attribute)
            index, seen[address] = seen[address], seen[address] + 1
            address = f"{address}#{index}" if index else address
            renamed[node.output[0]] = address + CODES
            node.name, node.output[0] = f"{address}/quantize", address + CODES
    for node in graph.graph.node:
        for position, name in enumerate(node.input):
            node.input[position] = renamed.get(name, name)
        if node.op_type == "DequantizeLinear" and node.input[0].endswith(CODES):
            node.name = node.input[0].removesuffix(CODES) + "/dequantize"


def name_convolutions(graph: onnx.ModelProto, plan: QuantPlan) -> None:
    """Gives every Conv node the address of the operation it is, found through the name of its weight."""
    address_of = {op.address.split(":")[0]: op.address for op in plan.ops if op.operation == "conv2d"}
    made_by = {output: node for node in graph.graph.node for output in node.output}
    for node in graph.graph.node:
        if node.op_type != "Conv":
            continue
        weight = node.input[1]
        while weight in made_by:  # back through DequantizeLinear, QuantizeLinear
            weight = made_by[weight].input[0]
        module = weight.removesuffix(".weight")
        for path in (module, module.removeprefix("model.")):  # a QuantizedModel's parameters have one prefix more
            if path in address_of:
                node.name = address_of[path]
                break
        else:
            raise UnsupportedModelError(f"The exported convolution {node.name} has a weight of no planned operation.")


class _Initializers:
    """Constants of a graph by name: initializers and the outputs of Constant nodes."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.values = constants(graph)

    def add(self, name: str, value: np.ndarray) -> str:
        self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        self.values[name] = value
        return name


def store_integers(graph: onnx.ModelProto, weight_format: Format) -> None:
    """Replaces QuantizeLinear(weight) by int8 initializers and float biases of integer convolutions by int32 ones.

    The bias scale is input scale x weight scale, as onnxruntime demands for fusion (qdq_selectors.cc,
    ConvNodeGroupSelector). Codes are computed as QuantizeLinear computes them: half to even of a float32 division.
    """
    constants = _Initializers(graph.graph)
    made_by = {output: node for node in graph.graph.node for output in node.output}
    folded = []
    for node in list(graph.graph.node):
        if node.op_type != "Conv":
            continue
        data, weight = made_by.get(node.input[0]), made_by.get(node.input[1])
        if weight is None or weight.op_type != "DequantizeLinear":
            continue
        quantize = made_by[weight.input[0]]
        scale = constants.values[weight.input[1]].astype(np.float32)
        values = constants.values[quantize.input[0]]
        codes = np.rint(values / scale.reshape(-1, 1, 1, 1)).clip(-weight_format.qmax, weight_format.qmax)
        weight.input[0] = constants.add(f"{node.name}/weight_int8", codes.astype(np.int8))
        folded.append(quantize)
        if len(node.input) > 2:
            if data is None or data.op_type != "DequantizeLinear":
                raise UnsupportedModelError(f"{node.name} has integer weights but a float input.")
            _store_bias(graph.graph, node, constants, constants.values[data.input[1]] * scale)
    for quantize in folded:
        graph.graph.node.remove(quantize)
    _drop_unused(graph.graph)


def _store_bias(graph: onnx.GraphProto, node: onnx.NodeProto, constants: _Initializers, scale: np.ndarray) -> None:
    limit = 2**31 - 1
    codes = np.rint(constants.values[node.input[2]] / scale).clip(-limit, limit).astype(np.int64)
    dequantize = onnx.helper.make_node(
        "DequantizeLinear",
        [
            constants.add(f"{node.name}/bias_int32", codes.clip(-limit, limit).astype(np.int32)),
            constants.add(f"{node.name}/bias_scale", scale.astype(np.float32)),
        ],
        [f"{node.name}/bias"],
        name=f"{node.name}/bias_dequantize",
        axis=0,
    )
    node.input[2] = dequantize.output[0]
    graph.node.insert(list(graph.node).index(node), dequantize)


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for node in [n for n in graph.node if n.op_type == "Constant" and n.output[0] not in used]:
        graph.node.remove(node)
    kept = [initializer for initializer in graph.initializer if initializer.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def build_graph(model: torch.nn.Module, plan: QuantPlan, imgsz: int | NetworkSize, opset: int) -> onnx.ModelProto:
    """The finished ONNX graph, without metadata: Q/DQ with integer constants for a QuantizedModel, float otherwise."""
    graph = trace_to_onnx(model, imgsz, opset)
    name_codes(graph)
    name_convolutions(graph, plan)
    if isinstance(model, QuantizedModel):
        store_integers(graph, plan.weight_format)
    onnx.checker.check_model(graph, full_check=True)
    return graph
