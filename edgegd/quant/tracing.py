"""Stable addresses for every torch operation of a forward pass, without changing the model.

A `torch.overrides.TorchFunctionMode` sees each call of a torch function, functional ones too (residual add, cat, chunk,
matmul); forward hooks tell which module is running. An address is `module path:operation:call index`, for example
`model.2.m.0:add:0`; the index counts the calls of that operation inside that module during one forward pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

INPUT = "input"

# The names under which torch functions reach a TorchFunctionMode -> the operation's name in addresses.
_OPERATIONS = {
    "__add__": "add", "__radd__": "add", "__iadd__": "add", "add_": "add",
    "__mul__": "mul", "__rmul__": "mul", "__imul__": "mul", "mul_": "mul",
    "__sub__": "sub", "__rsub__": "sub", "rsub": "sub", "__matmul__": "matmul", "bmm": "matmul",
    "__truediv__": "div", "__getitem__": "slice", "concat": "cat", "_max_pool2d": "max_pool2d",
    "boolean_dispatch": "max_pool2d", "view": "reshape", "flatten": "reshape", "squeeze": "reshape",
    "unsqueeze": "reshape", "permute": "transpose", "split_with_sizes": "split", "chunk": "split",
    "silu_": "silu", "relu_": "relu", "sigmoid_": "sigmoid",
}  # fmt: skip
# Attribute reads and bookkeeping that compute nothing.
_NOT_OPERATIONS = {"__get__", "__set__", "size", "dim", "numel", "is_floating_point", "detach", "clone", "contiguous",
                   "requires_grad_", "data_ptr", "device", "stride", "type", "to", "float", "half", "is_complex",
                   "__hash__", "__len__", "__bool__", "__format__", "__repr__", "__deepcopy__"}  # fmt: skip


def operation_name(func: Callable[..., Any]) -> str | None:
    """The operation's name in addresses, or None for calls that compute nothing (attribute reads, casts)."""
    name = getattr(func, "__name__", str(func))
    if name in _NOT_OPERATIONS:
        return None
    return _OPERATIONS.get(name, name)


class AddressedMode(TorchFunctionMode):
    """Gives every operation of one forward pass its address and hands it to `on_operation`.

    Subclasses override `on_operation(address, operation, func, args, kwargs)` and return the result.
    Enter it with `running(model)`, which also installs the hooks that track the module path.
    """

    def __init__(self) -> None:
        super().__init__()
        self._path: list[str] = [""]
        self._calls: Counter[tuple[str, str]] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        operation = operation_name(func)
        if operation is None:
            return self.on_bookkeeping(func, args, kwargs)
        path = self._path[-1]
        index = self._calls[path, operation]
        self._calls[path, operation] += 1
        return self.on_operation(f"{path}:{operation}:{index}", operation, func, args, kwargs)

    def on_operation(self, address: str, operation: str, func: Any, args: Any, kwargs: Any) -> Any:
        """Runs one operation; the mode itself is not active inside."""
        raise NotImplementedError

    def on_bookkeeping(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Runs a call that computes nothing; its result may still be a tensor with the values of its argument."""
        return func(*args, **kwargs)

    def _enter(self, paths: list[str]) -> None:
        # Ultralytics shares one SiLU among its Conv blocks: of its names, the one below the caller counts.
        here = self._path[-1]
        self._path.append(next((path for path in paths if path.rpartition(".")[0] == here), paths[0]))

    def _leave(self) -> None:
        self._path.pop()

    @contextmanager
    def running(self, model: nn.Module) -> Iterator[None]:
        """Active for one forward pass of `model`; counters start afresh, hooks are removed afterwards."""
        self._path, self._calls = [""], Counter()
        names: dict[nn.Module, list[str]] = {}
        for name, module in model.named_modules(remove_duplicate=False):
            names.setdefault(module, []).append(name)
        handles = []
        for module, paths in names.items():
            handles.append(module.register_forward_pre_hook(lambda *_, paths=paths: self._enter(paths)))
            handles.append(module.register_forward_hook(lambda *_: self._leave(), always_call=True))
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()


@dataclass(frozen=True)
class TracedOp:
    """One operation of the deployed forward pass.

    `inputs` are the addresses of the operations that made its tensor arguments (`input` for the image; parameters and
    constants do not appear); `shape` is the shape of its first output; `module` the module that owns the call.
    """

    address: str
    operation: str
    module: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]


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
            self.ops.append(TracedOp(address, operation, self._path[-1], inputs, tuple(outputs[0].shape)))
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
            ops.append(op)
    return tuple(reversed(ops))
