"""A detector under fake quantization: the model itself is unchanged, a TorchFunctionMode quantizes as the plan says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from edgegd.addresses import INPUT
from edgegd.plan.profiles import EXACT, INTEGER, MOVE
from edgegd.plan.quant_plan import PlannedOp, QuantPlan
from edgegd.quant import integer
from edgegd.quant.attention_steps import AttentionSteps
from edgegd.quant.fake_quantize import FakeQuantizeSiLU
from edgegd.quant.quantizers import ActivationQuantizer, WeightQuantizer, fake_quantize_bias, update_ranges
from edgegd.quant.tracing import AddressedMode

_AS_ONNXRUNTIME = ("conv2d", "silu", "add", "mul")  # all others are exact as float operations between quantizers


def module_key(address: str) -> str:
    """An address as a name that torch accepts for a submodule (no dots)."""
    return address.replace(".", "/")


class QuantizedModel(nn.Module):
    """`model` run under `plan`: forward(image (N, C, H, W) float32) -> what the model returns.

    `ranges` holds one ActivationQuantizer a scale group, `weights` one WeightQuantizer an integer convolution; both
    are in `state_dict()`. In training mode they are brought up to date with what learns at every forward pass.
    """

    def __init__(self, model: nn.Module, plan: QuantPlan, *, learned_weight_scales: bool = False) -> None:
        super().__init__()
        self.model, self.plan = model, plan
        learns = {tensor.group: tensor.learns for tensor in plan.tensors}
        self.ranges = nn.ModuleDict(
            {module_key(group): ActivationQuantizer(learns[group]) for group in dict.fromkeys(plan.groups.values())}
        )
        self._integer_convolutions = [op for op in plan.ops if op.weight and op.decision == INTEGER]
        self.weights = nn.ModuleDict(
            {
                module_key(op.weight): WeightQuantizer(
                    plan.weight_format,
                    len(model.get_submodule(op.weight).weight),  # type: ignore[arg-type]
                    learned=learned_weight_scales,
                )
                for op in self._integer_convolutions
            }
        )
        self._absorbed = {op.result for op in plan.ops if op.result not in ("", op.address)}
        self._keeping_codes = {op.address for op in plan.ops if plan.keeps_codes(op)}
        self._attention = AttentionSteps(self)
        self._range_of = {address: self.range_of(group) for address, group in plan.groups.items()}
        # What shows a planned tensor (address, float values) instead of quantizing it: calibration.
        self.observe: Callable[[str, torch.Tensor], None] | None = None
        # What is shown a planned tensor before it is quantized (address, float values), beside that: telemetry.
        self.watch: Callable[[str, torch.Tensor], None] | None = None
        # What sees an integer convolution (operation, input) before it runs, and may change its weights: refinement.
        self.before_convolution: Callable[[PlannedOp, torch.Tensor], None] | None = None
        # What takes the integer result of an operation (address, values) and returns what to go on with: parity.
        self.replace: Callable[[str, torch.Tensor], torch.Tensor] | None = None

    def range_of(self, group: str) -> ActivationQuantizer:
        """The range of a scale group."""
        return self.ranges[module_key(group)]  # type: ignore[return-value]

    def weight_quantizer(self, op: PlannedOp) -> WeightQuantizer:
        """The weight scales of an integer convolution."""
        return self.weights[module_key(op.weight)]  # type: ignore[return-value]

    def forward(self, image: torch.Tensor, **kwargs: Any) -> Any:
        """Runs the model; with `observe` set, every planned tensor is shown to it and nothing is quantized.

        Further arguments go to the model (RT-DETR's training forward takes its targets).
        """
        if self.training and self.observe is None:
            self.update_ranges()
        image = self.quantize(INPUT, image)  # not under the mode, which would count the operations of the quantizer
        with _QuantizingMode(self).running(self.model):
            return self.model(image, **kwargs)

    def quantize(self, address: str, x: torch.Tensor) -> torch.Tensor:
        """The fake-quantized tensor at a planned address; other addresses pass unchanged."""
        quantizer = self._range_of.get(address)
        if quantizer is None:
            return x
        if self.observe is not None:
            self.observe(address, x)
            return x
        if self.watch is not None:
            self.watch(address, x)
        return self.done(address, quantizer(x))

    def done(self, address: str, codes: torch.Tensor) -> torch.Tensor:
        """An integer result, or what `replace` puts in its place."""
        return codes if self.replace is None else self.replace(address, codes)

    def run(self, address: str, func: Any, args: Any, kwargs: Any) -> Any:
        """Runs one operation of the forward pass with its operands and result as the plan wants them."""
        op = self.plan.by_address.get(address)
        if op is None:
            return func(*args, **kwargs)
        if op.decision == EXACT:
            return self._attention.run(op, func, args, kwargs)
        quantizing = self.observe is None
        if op.decision == INTEGER:
            if self.before_convolution is not None and op.weight:
                self.before_convolution(op, args[0])
            if quantizing and not self.training and op.operation in _AS_ONNXRUNTIME:
                return self.done(op.result, self._as_onnxruntime(op, *args, **kwargs))
            if op.operation == "conv2d":
                result = self._convolution(op, *args, **kwargs)
                return result if op.result != address and not quantizing else self.quantize(op.result, result)
            if op.operation == "silu":
                return self._silu(address, *args)
        elif quantizing and address in self._absorbed:
            return args[0]  # the convolution before it has quantized its result in this operation's range
        result = func(*args, **kwargs)
        if address in self._keeping_codes and (op.decision == MOVE or quantizing):
            return result  # one range on both sides: codes stay the codes they were
        return self.quantize(address, result) if isinstance(result, torch.Tensor) else result

    def _convolution(
        self,
        op: PlannedOp,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> torch.Tensor:
        if self.observe is not None:
            return F.conv2d(x, weight, bias, *args, **kwargs)
        quantizer = self.weight_quantizer(op)
        if bias is not None:
            bias = fake_quantize_bias(bias, self._range_of[op.inputs[0]].scale * quantizer.scale)
        return F.conv2d(x, quantizer(weight), bias, *args, **kwargs)

    def _silu(self, address: str, x: torch.Tensor) -> torch.Tensor:
        gate_address = f"{address}/sigmoid"
        if self.observe is not None:
            return self.quantize(address, x * self.quantize(gate_address, torch.sigmoid(x)))
        if self.watch is not None:
            self.watch(address, F.silu(x))
        gate, result = self._range_of[gate_address], self._range_of[address]
        quantized: torch.Tensor = FakeQuantizeSiLU.apply(
            x, result.log_scale, result.shift, result.scale, result.scale_value, result.bounds, gate.scale, gate.bounds
        )  # type: ignore[no-untyped-call]
        return quantized

    def _as_onnxruntime(self, op: PlannedOp, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One integer operation in evaluation mode, in onnxruntime's order of float32 operations (quant/integer.py)."""
        result, source = self._range_of[op.result], self._range_of[op.inputs[0]]
        if op.operation == "conv2d":
            return integer.convolution(x, source, self.weight_quantizer(op), result, *args, **kwargs)
        if op.operation == "silu":
            gate_address = f"{op.address}/sigmoid"
            gate = self.done(gate_address, self._range_of[gate_address](torch.sigmoid(x)))
            return integer.multiply(x, source, gate, self._range_of[gate_address], result)
        other = self._range_of[op.inputs[1]]
        return (integer.add if op.operation == "add" else integer.multiply)(x, source, args[0], other, result)

    @torch.no_grad()
    def update_ranges(self) -> None:
        """Brings every range up to date with the weights and with what was learned; keeps all of them valid.

        To be called after anything but training's own forward pass has written parameters.
        """
        quantizers: Any = self.ranges.values()
        update_ranges([quantizer for quantizer in quantizers if quantizer.learns != "nothing"])
        self.follow_weights()

    @torch.no_grad()
    def follow_weights(self, *, tie: bool = False) -> None:
        """Sets every weight scale from the present weights (`tie`), or from what it is derived from."""
        for op in self._integer_convolutions:
            module: Any = self.model.get_submodule(op.weight)
            quantizer, scale = self.weight_quantizer(op), self._range_of[op.inputs[0]].scale
            (quantizer.tie if tie else quantizer.update)(module.weight, module.bias, scale)

    def range_parameters(self) -> dict[str, list[nn.Parameter]]:
        """What learns of the ranges: `scales` (logarithms; of weights too, where they learn) and `zero_points`."""
        ranges: list[Any] = [*self.ranges.values()]
        weights: list[Any] = [*self.weights.values()]
        return {
            "scales": [q.log_scale for q in ranges if q.learns != "nothing"]
            + [q.log_scale for q in weights if q.log_scale is not None],
            "zero_points": [q.shift for q in ranges if q.learns == "range"],
        }

    def learn_ranges(self, learn: bool) -> None:
        """Lets all ranges that may learn do so, or freezes them."""
        for parameters in self.range_parameters().values():
            for parameter in parameters:
                parameter.requires_grad_(learn)


class _QuantizingMode(AddressedMode):
    def __init__(self, owner: QuantizedModel) -> None:
        super().__init__()
        self._owner = owner

    def on_operation(self, address: str, operation: str, func: Any, args: Any, kwargs: Any) -> Any:
        return self._owner.run(address, func, args, kwargs)
