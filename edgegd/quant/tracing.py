"""Stable addresses for every torch operation of a forward pass, without changing the model.

A `torch.overrides.TorchFunctionMode` sees each call of a torch function, functional ones too (residual add, cat, chunk,
matmul); forward hooks tell which module is running. An address is `module path:operation:call index`, for example
`model.2.m.0:add:0`; the index counts the calls of that operation inside that module during one forward pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from edgegd.addresses import INPUT, Address
from edgegd.plan.traced_op import TracedOp

# The names under which torch functions reach a TorchFunctionMode -> the operation's name in addresses.
_OPERATIONS = {
    "__add__": "add",
    "__radd__": "add",
    "__iadd__": "add",
    "add_": "add",
    "__mul__": "mul",
    "__rmul__": "mul",
    "__imul__": "mul",
    "mul_": "mul",
    "multiply": "mul",
    "__sub__": "sub",
    "__rsub__": "sub",
    "rsub": "sub",
    "__isub__": "sub",
    "sub_": "sub",
    "__truediv__": "div",
    "__rtruediv__": "div",
    "__itruediv__": "div",
    "div_": "div",
    "true_divide": "div",
    "__floordiv__": "floor_divide",
    "__mod__": "remainder",
    "__neg__": "neg",
    "__pow__": "pow",
    "__rpow__": "pow",
    "__and__": "bitwise_and",
    "__or__": "bitwise_or",
    "__invert__": "bitwise_not",
    "__eq__": "eq",
    "__ne__": "ne",
    "__lt__": "lt",
    "__le__": "le",
    "__gt__": "gt",
    "__ge__": "ge",
    "__matmul__": "matmul",
    "__rmatmul__": "matmul",
    "bmm": "matmul",
    "concat": "cat",
    "concatenate": "cat",
    "_max_pool2d": "max_pool2d",
    "view": "reshape",
    "flatten": "reshape",
    "unflatten": "reshape",
    "squeeze": "reshape",
    "unsqueeze": "reshape",
    "permute": "transpose",
    "swapaxes": "transpose",
    "split_with_sizes": "split",
    "chunk": "split",
    "expand_as": "expand",
    "silu_": "silu",
    "relu_": "relu",
    "leaky_relu_": "leaky_relu",
    "hardswish_": "hardswish",
    "sigmoid_": "sigmoid",
    "tanh_": "tanh",
}
# Attribute reads and bookkeeping that compute nothing; dropout computes nothing in the deployed model.
_NOT_OPERATIONS = {
    "__get__",
    "__set__",
    "size",
    "dim",
    "numel",
    "is_floating_point",
    "detach",
    "clone",
    "contiguous",
    "requires_grad_",
    "data_ptr",
    "device",
    "stride",
    "type",
    "to",
    "float",
    "half",
    "is_complex",
    "__hash__",
    "__len__",
    "__bool__",
    "__format__",
    "__repr__",
    "__deepcopy__",
    "type_as",
    "dropout",
    "dropout_",
}


def operation_name(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """The operation's name in addresses, or None for calls that compute nothing (attribute reads, casts).

    Calls of one function that onnxruntime runs by different kernels have different names: indexing by a tensor is
    `index`, not `slice`; interpolation other than to the nearest neighbour and padding with other values than 0 name
    their mode.
    """
    name: str = getattr(func, "__name__", str(func))
    if name in _NOT_OPERATIONS:
        return None
    refine = _REFINED.get(name)
    return _OPERATIONS.get(name, name) if refine is None else refine(args, kwargs)


def _slice_or_index(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    items = args[1] if isinstance(args[1], tuple) else (args[1],)
    return "index" if any(isinstance(item, (torch.Tensor, list)) for item in items) else "slice"


def _interpolation(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    mode = kwargs.get("mode", args[3] if len(args) > 3 else "nearest")
    return "interpolate" if mode == "nearest" else f"interpolate_{mode}"


def _padding(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    mode = kwargs.get("mode", args[2] if len(args) > 2 else "constant")
    value = kwargs.get("value", args[3] if len(args) > 3 else None)
    return f"pad_{mode}" if mode != "constant" or value else "pad"


_REFINED: dict[str, Callable[[Sequence[Any], Mapping[str, Any]], str]] = {
    "__getitem__": _slice_or_index,
    "interpolate": _interpolation,
    "pad": _padding,
}


@contextmanager
def _export_scope(address: str) -> Iterator[None]:
    # torch's exporter names nodes and values by the scope in which they were traced; it takes them from module hooks
    # (torch/onnx/_internal/torchscript_exporter/utils.py, _setup_trace_module_map), which know no functional calls.
    tracing = torch._C._get_tracing_state()
    if tracing is None:
        yield
        return
    tracing.push_scope(torch._C._jit_onnx_create_full_scope_name("operation", address))
    try:
        yield
    finally:
        tracing.pop_scope()


def _computes_a_size(args: Sequence[Any]) -> bool:
    # While torch's exporter traces, a tensor's sizes are tensors too; elsewhere they are numbers, which no torch
    # function sees. Counting such calls would give other operations other addresses in an export.
    if torch._C._get_tracing_state() is None:
        return False
    operands = list(_tensors(args))
    return bool(operands) and all(x.ndim == 0 and x.dtype == torch.int64 for x in operands)


class AddressedMode(TorchFunctionMode):
    """Gives every operation of one forward pass its address and hands it to `on_operation`.

    Subclasses override `on_operation(address, operation, func, args, kwargs)` and return the result.
    Enter it with `running(model)`, which also installs the hooks that track the module path.
    """

    def __init__(self) -> None:
        super().__init__()
        self._path: list[str] = [""]
        self._calls: Counter[tuple[str, str]] = Counter()
        # Ultralytics shares one SiLU among its Conv blocks: of a module's paths, the one below the caller counts.
        self._paths: dict[nn.Module, dict[str, str]] = {}  # module -> parent's path -> path

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        operation = operation_name(func, args, kwargs)
        if operation is None or _computes_a_size(args):
            return self.on_bookkeeping(func, args, kwargs)
        path = self._path[-1]
        index = self._calls[path, operation]
        self._calls[path, operation] += 1
        address = str(Address(path, operation, index))
        with _export_scope(address):
            return self.on_operation(address, operation, func, args, kwargs)

    def on_operation(self, address: str, operation: str, func: Any, args: Any, kwargs: Any) -> Any:
        """Runs one operation; the mode itself is not active inside."""
        raise NotImplementedError

    def on_bookkeeping(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Runs a call that computes nothing; its result may still be a tensor with the values of its argument."""
        return func(*args, **kwargs)

    def _enter(self, module: nn.Module, _: Any) -> None:
        paths = self._paths.get(module)
        if paths is not None:  # a module of this model
            self._path.append(paths.get(self._path[-1]) or next(iter(paths.values())))

    def _leave(self, module: nn.Module, _: Any, __: Any) -> None:
        if module in self._paths:
            self._path.pop()

    @contextmanager
    def running(self, model: nn.Module) -> Iterator[None]:
        """Active for one forward pass of `model`; counters start afresh, nothing is left behind on the modules."""
        self._path, self._calls, self._paths = [""], Counter(), {}
        for path, module in model.named_modules(remove_duplicate=False):
            self._paths.setdefault(module, {}).setdefault(path.rpartition(".")[0], path)
        # Two hooks for all modules: one pair a module would take milliseconds to install and to remove.
        entering = register_module_forward_pre_hook(self._enter)
        leaving = register_module_forward_hook(self._leave, always_call=True)
        try:
            with self:
                yield
        finally:
            entering.remove()
            leaving.remove()


class _Tracer(AddressedMode):
    def __init__(self, image: torch.Tensor) -> None:
        super().__init__()
        self.ops: list[TracedOp] = []
        self.made_by: dict[int, str] = {id(image): INPUT}
        self._alive: list[torch.Tensor] = [image]  # keeps ids unique during the trace

    def on_bookkeeping(self, func: Any, args: Any, kwargs: Any) -> Any:
        result = func(*args, **kwargs)
        if isinstance(result, torch.Tensor) and args and id(args[0]) in self.made_by:
            self.made_by[id(result)] = self.made_by[id(args[0])]
            self._alive.append(result)
        return result

    def on_operation(self, address: str, operation: str, func: Any, args: Any, kwargs: Any) -> Any:
        result = func(*args, **kwargs)
        inputs = tuple(self.made_by[id(t)] for t in _tensors((args, kwargs)) if id(t) in self.made_by)
        outputs = list(_tensors(result))
        if inputs and outputs:
            numbers = tuple(n for n in (*args, *kwargs.values()) if type(n) in (int, float))
            self.ops.append(TracedOp(address, operation, self._path[-1], inputs, tuple(outputs[0].shape), numbers))
            for tensor in outputs:
                self.made_by[id(tensor)] = address
                self._alive.append(tensor)
        return result


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from _tensors(item)


def trace(model: nn.Module, image: torch.Tensor) -> tuple[TracedOp, ...]:
    """The operations of `model(image)`, in evaluation mode, on the way from the image to the output, in running order.

    `image` is float32 of shape (N, C, H, W). Operations whose results do not reach the output (a head that is not
    deployed) are left out.
    """
    tracer = _Tracer(image)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            model(image)  # fills caches, such as the anchors of a detection head
            with tracer.running(model):
                output = model(image)
    finally:
        model.train(was_training)
    reached = {tracer.made_by[id(t)] for t in _tensors(output) if id(t) in tracer.made_by}
    ops = []
    for op in reversed(tracer.ops):
        if op.address in reached:
            reached.update(op.inputs)
            if op.operation == "conv2d" and not isinstance(model.get_submodule(op.module), nn.Conv2d):
                op = replace(op, operation="functional_conv2d")
            ops.append(op)
    return tuple(reversed(ops))
