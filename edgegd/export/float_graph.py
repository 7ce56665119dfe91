"""torch -> ONNX: the addressed float graph of a model, from which plans are quantized without torch."""

from __future__ import annotations

import functools
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgegd.detectors.deployment import head_paths, input_channels
from edgegd.errors import UnsupportedModelError
from edgegd.export.insert.constants import fold
from edgegd.export.traced_graph import Traced, write_trace
from edgegd.network_size import NetworkSize, network_size
from edgegd.plan.profiles.table import HeadPaths
from edgegd.quant.tracing import AddressedMode, trace
from edgegd.runtime.contract import INPUT_NAME, OUTPUT_NAME

_IR_VERSION = 10  # the newest that every onnxruntime from 1.18 on reads
_MODULE_SCOPES = re.compile(r"^/.*?(?=[^/]*:\w+:\d+/)")  # what torch puts before an address: the path of modules


def float_graph(model: torch.nn.Module, imgsz: int | NetworkSize, opset: int) -> onnx.ModelProto:
    """The ONNX graph of a deployed float `model` for one image (1, C, H, W), in evaluation mode, with its trace.

    `imgsz` is (H, W), or the side of a square; C is what the model takes. Nodes are named `ADDRESS/Operator` after the
    operation that they belong to, convolutions `ADDRESS`. All parameters are initializers under their own names, so
    that trained ones can take their place; what does not depend on them is folded.

    Uses torch's TorchScript exporter, whose scopes carry the addresses.
    """
    size = network_size(imgsz)
    image = torch.zeros(1, input_channels(model), *size, device=next(model.parameters()).device)
    head = _head_of(model)
    ops = trace(model, image)
    graph = _exported(model, image, opset)
    _separate_equal_constants(graph.graph)
    _shorten_names(graph.graph)
    _name_convolutions(graph.graph, {op.address for op in ops})
    own = {name for name, _ in (*model.named_parameters(), *model.named_buffers())}
    graph = _folded(graph, own)
    write_trace(
        graph, Traced(ops, head, tuple(stored.name for stored in graph.graph.initializer if stored.name in own))
    )
    onnx.checker.check_model(graph, full_check=True)
    return graph


def _head_of(model: torch.nn.Module) -> HeadPaths:
    try:
        return head_paths(model)
    except UnsupportedModelError:  # a module that is no detector: edgegd.quant.plan_module plans it without a head
        return HeadPaths("", frozenset())


def _exported(model: torch.nn.Module, image: torch.Tensor, opset: int) -> onnx.ModelProto:
    buffer: Any = io.BytesIO()  # torch's annotation knows paths only
    was_training = model.training
    model.eval()
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
                do_constant_folding=False,  # it would give parameters of linear layers other forms and no names
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
    return graph


class _Addresses(AddressedMode):
    """Runs a float model as it is; that its operations have addresses names the exported nodes."""

    def on_operation(self, address: str, operation: str, func: Any, args: Any, kwargs: Any) -> Any:
        return func(*args, **kwargs)


@contextmanager
def _addressed(model: torch.nn.Module) -> Iterator[None]:
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


def _separate_equal_constants(graph: onnx.GraphProto) -> None:
    # The exporter stores equal parameters once and gives the others an Identity node; each needs its own name here.
    stored = {initializer.name: initializer for initializer in graph.initializer}
    for node in [n for n in graph.node if n.op_type == "Identity" and n.input[0] in stored]:
        copied = graph.initializer.add()
        copied.CopyFrom(stored[node.input[0]])
        copied.name = node.output[0]
        graph.node.remove(node)


def _shorten_names(graph: onnx.GraphProto) -> None:
    # `/model/model.0/conv/model.0.conv:conv2d:0/Conv_output_0` -> `model.0.conv:conv2d:0/Conv_output_0`; the address
    # names the path of modules already. onnxruntime names what it makes of nodes after them, or after their outputs.
    for node in graph.node:
        node.name = _MODULE_SCOPES.sub("", node.name)
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                names[position] = _MODULE_SCOPES.sub("", name)
    del graph.value_info[:]  # it has the names of before


def _name_convolutions(graph: onnx.GraphProto, addresses: set[str]) -> None:
    for node in graph.node:
        address = node.name.rpartition("/")[0]
        if node.op_type == "Conv" and address in addresses:
            node.name = address


def _folded(graph: onnx.ModelProto, parameters: set[str]) -> onnx.ModelProto:
    model = ir.from_proto(graph)
    fold(model.graph, without=parameters)
    RemoveUnusedNodesPass()(model)
    folded = ir.to_proto(model)
    del folded.graph.value_info[:]
    return folded
