"""A detector under fake quantization: the model itself is unchanged, a TorchFunctionMode quantizes as the plan says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from edgegd.quant import integer
from edgegd.quant.fake_quantize import ActivationQuantizer, WeightQuantizer, fake_quantize_bias
from edgegd.quant.plan import PlannedOp, QuantPlan
from edgegd.quant.rules import INTEGER, MOVE
from edgegd.quant.tracing import INPUT, AddressedMode


def module_key(address: str) -> str:
    """An address as a name that torch accepts for a submodule (no dots)."""
    return address.replace(".", "/")


class QuantizedModel(nn.Module):
    """`model` run under `plan`: forward(image (N, 3, H, W) float32) -> what the model returns.

    `ranges` holds one ActivationQuantizer a scale group, `weights` one WeightQuantizer an integer convolution; both
    are in `state_dict()`. In training mode the weight scales follow the weights at every step.
    """

    def __init__(self, model: nn.Module, plan: QuantPlan) -> None:
        super().__init__()
        self.model, self.plan = model, plan
        groups = plan.groups
        self.ranges = nn.ModuleDict(
            {module_key(group): ActivationQuantizer(plan.activation_format) for group in dict.fromkeys(groups.values())}
        )
        self.weights = nn.ModuleDict(
            {
                module_key(op.weight): WeightQuantizer(
                    plan.weight_format, len(model.get_submodule(op.weight).weight)  # type: ignore[arg-type]
                )
                for op in plan.ops
                if op.weight and op.decision == INTEGER
            }
        )
        self._range_of = {address: self.range_of(group) for address, group in groups.items()}
        self.observe: Callable[[str, torch.Tensor], None] | None = None

    def range_of(self, group: str) -> ActivationQuantizer:
        """The range of a scale group."""
        return self.ranges[module_key(group)]  # type: ignore[return-value]

    def forward(self, image: torch.Tensor) -> Any:
        """Runs the model; with `observe` set, every planned tensor is shown to it and nothing is quantized."""
        mode = _QuantizingMode(self)
        with mode.running(self.model):
            return self.model(self.quantize(INPUT, image))

    def quantize(self, address: str, x: torch.Tensor) -> torch.Tensor:
        """The fake-quantized tensor at a planned address; other addresses pass unchanged."""
        quantizer = self._range_of.get(address)
        if quantizer is None:
            return x
        if self.observe is not None:
            self.observe(self.plan.groups[address], x)
            return x
        return quantizer(x)

    def run(self, address: str, func: Any, args: Any, kwargs: Any) -> Any:
        """Runs one operation of the forward pass with its operands and result as the plan wants them."""
        op = self.plan.by_address.get(address)
        if op is None:
            return func(*args, **kwargs)
        if op.decision == INTEGER and op.operation in ("conv2d", "silu", "add"):
            if self.observe is None and not self.training and not torch.onnx.is_in_onnx_export():
                return self._as_onnxruntime(op, *args, **kwargs)
            if op.operation == "conv2d":
                return self.quantize(address, self._convolution(op, *args, **kwargs))
            if op.operation == "silu":
                gate = self.quantize(f"{address}/sigmoid", torch.sigmoid(args[0]))
                return self.quantize(address, args[0] * gate)
        result = func(*args, **kwargs)
        if op.decision == MOVE or (op.operation == "cat" and op.decision == INTEGER and self.observe is None):
            return self._moved(address, result)
        return self.quantize(address, result) if isinstance(result, torch.Tensor) else result

    def _moved(self, address: str, result: Any) -> Any:
        # One range on both sides: codes stay the codes they were, and only the exported graph needs the Q/DQ pair.
        if not torch.onnx.is_in_onnx_export():
            return result
        if isinstance(result, torch.Tensor):
            return self.quantize(address, result)
        return type(result)(self.quantize(address, item) for item in result)

    def _convolution(self, op: PlannedOp, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None,
                     *args: Any, **kwargs: Any) -> torch.Tensor:
        if self.observe is not None:
            return F.conv2d(x, weight, bias, *args, **kwargs)
        quantizer: Any = self.weights[module_key(op.weight)]
        input_scale = self._range_of[op.inputs[0]].scale
        if self.training:
            quantizer.follow(weight, bias, input_scale)
        if torch.onnx.is_in_onnx_export():  # the exporter stores the bias's int32 codes itself
            return F.conv2d(x, quantizer(weight), bias, *args, **kwargs)
        if bias is not None:
            bias = fake_quantize_bias(bias, input_scale * quantizer.scale)
        return F.conv2d(x, quantizer(weight), bias, *args, **kwargs)

    def _as_onnxruntime(self, op: PlannedOp, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One integer operation in evaluation mode, in onnxruntime's order of float32 operations (quant/integer.py)."""
        result, source = self._range_of[op.address], self._range_of[op.inputs[0]]
        if op.operation == "conv2d":
            weight, bias, *rest = args
            scale = self.weights[module_key(op.weight)].scale
            return integer.convolution(x, weight, bias, source, scale, result, *rest, **kwargs)  # type: ignore[arg-type]
        if op.operation == "silu":
            gate_range = self._range_of[f"{op.address}/sigmoid"]
            return integer.multiply(x, source, gate_range(torch.sigmoid(x)), gate_range, result)
        return integer.add(x, source, args[0], self._range_of[op.inputs[1]], result)

    @torch.no_grad()
    def follow_weights(self) -> None:
        """Sets every weight scale from the present weights (after calibration, or after loading averaged weights)."""
        for op in self.plan.ops:
            if op.weight and op.decision == INTEGER:
                module: Any = self.model.get_submodule(op.weight)
                scale = self._range_of[op.inputs[0]].scale
                self.weights[module_key(op.weight)].follow(module.weight, module.bias, scale)  # type: ignore[operator]


class _QuantizingMode(AddressedMode):
    def __init__(self, owner: QuantizedModel) -> None:
        super().__init__()
        self._owner = owner

    def on_operation(self, address: str, operation: str, func: Any, args: Any, kwargs: Any) -> Any:
        return self._owner.run(address, func, args, kwargs)
