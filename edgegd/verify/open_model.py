"""The quantized model in torch with its tensors laid open: what every planned tensor holds, in float and in codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from edgegd.quant.attach import QuantizedModel
from edgegd.quant.integer import codes_of


class OpenModel:
    """Runs `quantized` (in evaluation mode, on the CPU) on an image (1, C, H, W) and shows its tensors by address.

    Codes are canonical: uint8. Tensors that only hold codes of others (a split, a concat) are left out.
    """

    def __init__(self, quantized: QuantizedModel) -> None:
        self._model = quantized.eval()

    def in_float(self, image: np.ndarray, show: Callable[[str, np.ndarray], None]) -> np.ndarray:
        """The output without any quantization; `show` is given every planned tensor: address, float32 values."""
        self._model.observe = lambda address, value: show(address, value.numpy())
        try:
            return self._run(image)
        finally:
            self._model.observe = None

    def quantized(self, image: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The output under fake quantization, and the codes."""
        codes: dict[str, np.ndarray] = {}

        def record(address: str, value: torch.Tensor) -> torch.Tensor:
            codes[address] = self.quantize(address, value)
            return value

        return self._replacing(record, image), codes

    def one_operation(
        self, image: np.ndarray, given: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """As `quantized`, but every operation reads the `given` codes of the tensors before it, not torch's own."""
        codes: dict[str, np.ndarray] = {}

        def force(address: str, value: torch.Tensor) -> torch.Tensor:
            codes[address] = self.quantize(address, value)
            return torch.from_numpy(self.dequantize(address, given[address]))

        return self._replacing(force, image), codes

    def quantize(self, address: str, value: torch.Tensor) -> np.ndarray:
        """The codes of a fake-quantized tensor."""
        chosen = self._model.range_of(self._model.plan.groups[address])
        codes: np.ndarray = codes_of(value, chosen.scale).add_(chosen.zero_point).to(torch.uint8).numpy()
        return codes

    def dequantize(self, address: str, codes: np.ndarray) -> np.ndarray:
        """The float32 values of codes, as DequantizeLinear computes them."""
        chosen = self._model.range_of(self._model.plan.groups[address])
        values: np.ndarray = (codes.astype(np.float32) - np.float32(chosen.zero_point)) * np.float32(chosen.scale)
        return values

    def _replacing(self, replace: Callable[[str, torch.Tensor], torch.Tensor], image: np.ndarray) -> np.ndarray:
        self._model.replace = replace
        try:
            return self._run(image)
        finally:
            self._model.replace = None

    @torch.no_grad()
    def _run(self, image: np.ndarray) -> np.ndarray:
        output: np.ndarray = self._model(torch.from_numpy(image)).numpy()
        return output
