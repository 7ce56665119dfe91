"""What gradient descent needs of a model: the quantized one has it, and so has a float one through an adapter."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from edgegd.quant.attach import QuantizedModel


class FloatStudent(nn.Module):
    """A float detector in its deployed form with the interface of a QuantizedModel, and no ranges.

    It goes through the same loop: to adapt to other activations, with BatchNorm live, or folded as a control of QAT.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor, **kwargs: Any) -> Any:
        """What the model returns for an image (N, C, H, W) float32."""
        return self.model(image, **kwargs)

    def update_ranges(self) -> None:
        """Nothing: there are no ranges."""

    def range_parameters(self) -> dict[str, list[nn.Parameter]]:
        """No parameters."""
        return {"scales": [], "zero_points": []}

    def learn_ranges(self, learn: bool) -> None:
        """Nothing: there are no ranges."""


Student = QuantizedModel | FloatStudent
