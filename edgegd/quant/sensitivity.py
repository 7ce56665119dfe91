"""How much an error of each activation matters to what a detector finds: histograms weighted by squared gradients.

An error e of one value adds e^2 g to the loss, where g is half the curvature of the loss along that value. The loss is
the divergence of the detector's own predictions (edgegd.detectors.curvature), whose Gauss-Newton curvature is the mean
of squared gradients over random contractions of the predictions (Hutchinson 1990; Martens, Sutskever and Swersky 2012,
section 3). So one backward pass an image, from one such contraction, weights all values of all tensors. Ranges of the
least error then spend their codes on what the detector reads, not on what there is most of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from edgegd.addresses import INPUT
from edgegd.plan.profiles import INTEGER
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.histogram import Histogram
from edgegd.quant.readers import SCORE, readers_of_groups

# How much the values count beside the gradients' weights: few images have gradients for few kinds of objects. Of 0.03,
# 0.1 and 0.3 on two COCO models the first lost least (docs/design.md, "Refinement").
_SHARE = 0.03
Contraction = Callable[[Callable[[torch.Tensor], Any], torch.Tensor], torch.Tensor]
"""Takes a model and one image (1, C, H, W), runs the one on the other, and returns a scalar with a gradient."""


def collect_sensitivities(
    quantized: QuantizedModel,
    images: Iterable[torch.Tensor],
    contraction: Contraction,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Histogram]:
    """The histogram of every planned tensor by address, each value counted by its squared gradient.

    `images` are float (1, C, H, W) in 0..1. A value that a SiLU reads counts by the gradient of the SiLU's result: what
    is lost there is measured behind it (edgegd.quant.readers). Class scores, whose own error is a divergence, are not
    among them. `progress(images)` is called after each image. The model's parameters take no gradient meanwhile.
    """
    plan, readers = quantized.plan, readers_of_groups(quantized.plan)
    source_of = {op.address: op.inputs[0] for op in plan.ops if op.operation == "silu" and op.decision == INTEGER}
    before_silu, found = set(source_of.values()), dict[str, Histogram]()
    seen: dict[str, torch.Tensor] = {}

    def observe(address: str, x: torch.Tensor) -> None:
        if address != INPUT and x.requires_grad and readers[plan.groups[address]] is not SCORE:
            x.retain_grad()
            seen[address] = x

    def undetached(image: torch.Tensor) -> Any:
        with _Undetached():
            return quantized(image)

    learning = [parameter for parameter in quantized.parameters() if parameter.requires_grad]
    was_training = quantized.training
    quantized.eval().requires_grad_(False)
    quantized.observe = observe
    try:
        for done, image in enumerate(images, start=1):
            seen.clear()
            contraction(undetached, image.requires_grad_()).backward()
            for address, x in seen.items():
                if x.grad is not None and address not in before_silu:
                    weights = x.grad.square()
                    for own in (address, source_of.get(address, address)):
                        if own in seen:
                            found.setdefault(own, Histogram()).add(seen[own], weights)
            if progress:
                progress(done)
    finally:
        quantized.observe = None
        quantized.train(was_training)
        for parameter in learning:
            parameter.requires_grad_()
    return found


def emphasised(histograms: Mapping[str, Histogram], sensitivities: Mapping[str, Histogram]) -> dict[str, Histogram]:
    """The histograms with each value counted by its sensitivity and, for a _SHARE of the whole, as it was.

    Tensors without sensitivities stay as they are; extremes are those of all values seen.
    """
    chosen = dict(histograms)
    for address, weighted in sensitivities.items():
        plain, total = histograms.get(address), weighted.total
        if plain is not None and plain.width and total > 0:
            chosen[address] = Histogram.merged([plain.times(_SHARE * total / plain.total), weighted])
    return chosen


class _Undetached(TorchFunctionMode):
    """Within it nothing is detached: an end-to-end head is trained without a gradient into the backbone."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func is torch.Tensor.detach else func(*args, **(kwargs or {}))
