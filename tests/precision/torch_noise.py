"""The oracle of sensitivities: single operations quantized in torch, as onnxruntime's integer kernels compute them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from edgegd.plan.quant_plan import QuantPlan
from edgegd.precision.assembly import Addresses
from edgegd.quant.attach import QuantizedModel


class PartlyQuantized(QuantizedModel):
    """A QuantizedModel of which only the units in `only` are quantized (None: all), and which keeps the head's tensors.

    A unit on its own reads the codes that it would read under the plan, made from what arrives in float.
    """

    def __init__(self, model: nn.Module, plan: QuantPlan, head: Addresses) -> None:
        super().__init__(model, plan)
        self.only: frozenset[str] | None = None
        self.head: dict[str, torch.Tensor] = dict.fromkeys(head, torch.empty(0))

    @staticmethod
    def like(quantized: QuantizedModel, plan: QuantPlan, head: Addresses) -> PartlyQuantized:
        """The same model and ranges under `plan`, which quantizes nothing that the model's own plan does not."""
        partly = PartlyQuantized(quantized.model, plan, head)
        for address, group in plan.groups.items():
            found = quantized.range_of(quantized.plan.groups[address])
            partly.range_of(group).set_range(found.scale_value, int(found.zero_point))
        partly.follow_weights(tie=True)
        partly.eval()
        return partly

    def run(self, address: str, func: Any, args: Any, kwargs: Any) -> Any:
        if self.only is None:
            result = super().run(address, func, args, kwargs)
        elif address in self.only:
            sources = iter(self.plan.by_address[address].inputs)
            args = [self._codes(arg, sources) for arg in args]
            result = super().run(address, func, args, kwargs)
        else:
            result = func(*args, **kwargs)
        if address in self.head:
            self.head[address] = result.detach()
        return result

    def _codes(self, arg: Any, sources: Iterator[str]) -> Any:
        # Tensors that operations made come first among the arguments; weights, for which no source is left, after them.
        if isinstance(arg, (list, tuple)):
            return type(arg)(self._codes(item, sources) for item in arg)
        source = next(sources, "") if isinstance(arg, torch.Tensor) else ""
        inside = self.only is not None and source in self.only
        return self.quantize(source, arg) if source and not inside else arg


class TorchHeadNoise:
    """Compares quantized forms of one model with its float form on `images` (N, C, H, W) float32, in batches."""

    def __init__(self, quantized: QuantizedModel, head: Addresses, batches: Sequence[torch.Tensor]) -> None:
        self._quantized, self._head, self._batches = quantized, head, batches
        self._float = self._run(PartlyQuantized.like(quantized, quantized.plan, head), frozenset())

    def of_units(self, units: Sequence[Addresses]) -> Iterator[float]:
        """The relative noise of the head when only one unit is quantized, for each unit in turn."""
        model = PartlyQuantized.like(self._quantized, self._quantized.plan, self._head)
        for unit in units:
            yield self._noise(self._run(model, frozenset(unit)))

    def of_plan(self, plan: QuantPlan) -> float:
        """The relative noise of the head under a whole plan."""
        return self._noise(self._run(PartlyQuantized.like(self._quantized, plan, self._head), None))

    @torch.no_grad()
    def _run(self, model: PartlyQuantized, only: frozenset[str] | None) -> list[torch.Tensor]:
        """Each head tensor over all images."""
        model.only = only
        found: list[dict[str, torch.Tensor]] = []
        for batch in self._batches:
            model(batch)
            found.append(dict(model.head))
        return [torch.cat([tensors[address] for tensors in found]) for address in self._head]

    def _noise(self, tensors: Sequence[torch.Tensor]) -> float:
        relative = [
            float((own - exact).double().square().mean() / exact.double().var(correction=0).clamp(min=1e-30))
            for own, exact in zip(tensors, self._float, strict=True)
        ]
        return sum(relative) / len(relative)
