"""What stands in an exported graph in place of a fake quantizer: QuantizeLinear and DequantizeLinear.

A QuantizeLinear carries the address of its tensor in an attribute, which edgegd.export.graph takes out again to name
the codes in the file. The values that pass through during the export's trace are not looked at.
"""

from __future__ import annotations

from typing import Any

import torch

ADDRESS = "address"  # the attribute
CODES = "/codes"  # suffix of the names of quantized tensors in a file


class QuantizeDequantizeActivation(torch.autograd.Function):
    """The pair for one tensor: `scale` and `zero_point` are numbers, the codes uint8, or int8 if `signed`."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: float, zero_point: int, signed: bool, name: str) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def symbolic(g: Any, x: Any, scale: float, zero_point: int, signed: bool, name: str) -> Any:
        dtype = torch.int8 if signed else torch.uint8
        range_nodes = (g.op("Constant", value_t=torch.tensor(scale, dtype=torch.float32)),
                       g.op("Constant", value_t=torch.tensor(zero_point, dtype=dtype)))
        codes = g.op("QuantizeLinear", x, *range_nodes, **{f"{ADDRESS}_s": name})
        return g.op("DequantizeLinear", codes, *range_nodes)


class QuantizeDequantizeWeight(torch.autograd.Function):
    """The pair for a weight (C_out, ...) with int8 codes and a `scale` of shape (C_out,) along axis 0."""

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, scale: torch.Tensor, name: str) -> torch.Tensor:
        return weight.clone()

    @staticmethod
    def symbolic(g: Any, weight: Any, scale: Any, name: str) -> Any:
        zero_point = g.op("Constant", value_t=torch.zeros(weight.type().sizes()[0], dtype=torch.int8))
        codes = g.op("QuantizeLinear", weight, scale, zero_point, axis_i=0, **{f"{ADDRESS}_s": name})
        return g.op("DequantizeLinear", codes, scale, zero_point, axis_i=0)
