"""Refinement of a calibrated model on unlabelled images: its weights are rounded and its biases corrected, in order.

The images run through the quantized model once. Before each integer convolution, which sees what all earlier ones were
refined to, weights of less than 8 bits are rounded for their inputs (edgegd.quant.rounding; those of 8 bits lose next
to nothing, whichever way they are rounded), and its biases take back the mean error of
its results against the float model's (Nagel et al. 2019, section 4.2, there for weights alone). An error counts as far
as the reader of the result passes it on: by the squared slope of a SiLU, by p(1 - p) of a class score. Saturated
values, which a correction by plain means would follow, then do not count. A correction is shrunk by its variance, from
how it differs between images (the positive part of James and Stein 1961, with a larger factor): few images do not
overfit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from edgegd.addresses import INPUT
from edgegd.plan.profiles import INTEGER
from edgegd.plan.quant_plan import PlannedOp
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.readers import RELU, Reader, readers_of_groups
from edgegd.quant.rounding import round_weights

_MOST_POSITIONS = 1024  # of an image at which a result is looked at
_FEWEST_POSITIONS = 256
_VALUES = 1 << 18  # inputs, or four times results, that one image gives a convolution: fewer positions of wide ones
_FEWEST_IMAGES = 4
_BYTES = 2 << 30  # what the activations may take that live at once: about six of the size of the largest
_LIVE = 6
_LARGEST_HALF = 65504.0
_EXACT_BITS = 8  # weights of so many bits were 49 dB above their noise, activations 30 (docs/design.md)
# How many times its variance a squared correction is shrunk by: one of less than four standard errors is none. Against
# 1, by the head on other images: better on COCO with 7 bits, else no clear difference (docs/design.md); chosen because
# it changes least.
_SHRINKAGE = 16.0


@dataclass(frozen=True)
class Refinement:
    """What refinement changed: codes of weights that are not the nearest ones, and the largest change of a bias.

    `codes` are those of the weights that were rounded for their inputs: none of 8 bits.
    """

    images: int
    changed_codes: int
    codes: int
    largest_bias_change: float


@torch.no_grad()
def refine(
    quantized: QuantizedModel, images: torch.Tensor, progress: Callable[[int, int], None] | None = None
) -> Refinement:
    """Rounds the weights and corrects the biases of a calibrated model, for float images (N, C, H, W) in 0..1.

    Weights that are rounded become multiples of their scales, which are kept from then on; those of 8 bits, and their
    scales' tie to the largest of them, stay as they are. `progress(convolutions done, all)` is called
    after each. The model must be in its calibrated state: ranges set, weights as in float. All images are in memory at
    once, layer after layer: of a large model, as many of them are taken as 2 GiB hold.
    """
    refiner, was_training = _Refiner(quantized, progress), quantized.training
    quantized.eval()
    try:
        quantized.observe = lambda address, x: None  # while something observes, nothing is quantized
        quantized.before_convolution = refiner.record
        quantized(images[:1])
        images = images[: max(_FEWEST_IMAGES, _BYTES // (4 * _LIVE * refiner.largest_input))]
        for image in images[1:].split(1):
            quantized(image)
        quantized.observe = None
        quantized.before_convolution = refiner.refine
        quantized(images)
    finally:
        quantized.observe = quantized.before_convolution = None
        quantized.train(was_training)
    return Refinement(len(images), refiner.changed, refiner.codes, refiner.largest_change)


class _Refiner:
    def __init__(self, quantized: QuantizedModel, progress: Callable[[int, int], None] | None) -> None:
        self._quantized, self._progress = quantized, progress
        self._readers = readers_of_groups(quantized.plan)
        self._convolutions = [op for op in quantized.plan.ops if op.weight and op.decision == INTEGER]
        self._sums: dict[str, list[torch.Tensor]] = {}
        self.changed = self.codes = self.largest_input = self._done = 0
        self.largest_change = 0.0

    def record(self, op: PlannedOp, x: torch.Tensor) -> None:
        """Keeps the float sums (positions, C_out) of one image, without biases, in 16 bits: only their means count."""
        module = self._module(op)
        self.largest_input = max(self.largest_input, x.numel())
        if module.bias is not None:
            sums = _sums(patches(module, x), module.weight).clamp_(-_LARGEST_HALF, _LARGEST_HALF)
            self._sums.setdefault(op.address, []).append(sums.half())

    def refine(self, op: PlannedOp, x: torch.Tensor) -> None:
        """Rounds the weights of a convolution for its quantized inputs (N, C_in, H, W), then corrects its biases."""
        module, quantizer = self._module(op), self._quantized.weight_quantizer(op)
        samples = [patches(module, image) for image in x.split(1)]
        rounds = quantizer.format.bits < _EXACT_BITS
        if rounds:
            self._round(op, module, quantizer, samples)
        if module.bias is not None:
            self._correct(op, module, quantizer(module.weight), samples)
        source = self._quantized.range_of(self._quantized.plan.groups[op.inputs[0]])
        if rounds:
            quantizer.keep(quantizer.scale, module.bias, source.scale)
        else:
            quantizer.update(module.weight, module.bias, source.scale)
        self._done += 1
        if self._progress:
            self._progress(self._done, len(self._convolutions))

    def _round(self, op: PlannedOp, module: Any, quantizer: Any, samples: Sequence[torch.Tensor]) -> None:
        """Weights that read the image are rounded to the nearest."""
        weight = module.weight.reshape(module.groups, -1, samples[0].shape[1])  # (groups, C_out / groups, d)
        scale = quantizer.scale.view(module.groups, -1)
        codes = nearest = (weight / scale[..., None]).round()
        if op.inputs[0] != INPUT:
            # Pixels beside each other are nearly equal: rounding for them keeps flat areas right, and blurs edges.
            groups = zip(weight, correlations(samples), scale, strict=True)
            codes = torch.stack([round_weights(*group, quantizer.format.qmax) for group in groups])
        self.changed += int((codes != nearest).sum())
        self.codes += codes.numel()
        module.weight.copy_((codes * scale[..., None]).view_as(module.weight))

    def _correct(self, op: PlannedOp, module: Any, weight: torch.Tensor, samples: Sequence[torch.Tensor]) -> None:
        """Biases take back the mean error of the sums of quantized inputs and weights."""
        made = torch.stack([_sums(sample, weight) + module.bias for sample in samples])
        wanted = torch.stack(self._sums.pop(op.address)).float() + module.bias
        absorbs_relu = op.result != op.address
        reader = RELU if absorbs_relu else self._readers[self._quantized.plan.groups[op.result]]
        change = bias_correction(made, wanted, reader)
        module.bias.add_(change)
        self.largest_change = max(self.largest_change, float(change.abs().max()))

    def _module(self, op: PlannedOp) -> Any:
        return self._quantized.model.get_submodule(op.weight)


def patches(convolution: Any, x: torch.Tensor) -> torch.Tensor:
    """What a Conv2d multiplies at some positions of one image (1, C_in, H, W): (groups, d, positions), float32.

    The positions are spread evenly, and the same ones for every image of a size.
    """
    (height, width), (down, right) = convolution.kernel_size, convolution.stride
    (top, left), (by, across) = convolution.padding, convolution.dilation
    rows = (x.shape[2] + 2 * top - by * (height - 1) - 1) // down + 1
    columns = (x.shape[3] + 2 * left - across * (width - 1) - 1) // right + 1
    inputs = x.shape[1] // convolution.groups * height * width
    values = max(inputs, 4 * convolution.out_channels)
    count = min(rows * columns, max(_FEWEST_POSITIONS, min(_MOST_POSITIONS, _VALUES // values)))
    # Steps of the golden ratio: no row or column of the grid is favoured, as a regular step would.
    places = (torch.arange(count, dtype=torch.float64) * 0.6180339887498949 % 1 * rows * columns).long()
    places = torch.arange(count) if count == rows * columns else places
    row, column = (places // columns * down).to(x.device), (places % columns * right).to(x.device)
    padded = F.pad(x, (left, left, top, top))
    taken = [padded[0][:, row + i * by, column + j * across] for i in range(height) for j in range(width)]
    return torch.stack(taken, 1).reshape(convolution.groups, inputs, count)


def correlations(samples: Sequence[torch.Tensor]) -> torch.Tensor:
    """Those of inputs (groups, d, positions) of several images about their means: (groups, d, d)."""
    count = sum(sample.shape[2] for sample in samples)
    mean = torch.stack([sample.sum(2) for sample in samples]).sum(0)[..., None] / count  # (groups, d, 1)
    products = torch.zeros(len(mean), mean.shape[1], mean.shape[1], device=mean.device)
    for sample in samples:
        # The mean is taken off first: of inputs that hardly vary, the difference of two squares would be rounding.
        products += (sample - mean) @ (sample - mean).mT
    return products / count


def bias_correction(made: torch.Tensor, wanted: torch.Tensor, reader: Reader) -> torch.Tensor:
    """What is to be added (C_out,) to results `made` (images, positions, C_out) so that the reader sees those `wanted`.

    The weighted mean difference, shrunk by _SHRINKAGE times its own variance between images.
    """
    weight = reader.weight(wanted)
    totals, weights = ((wanted - made) * weight).sum(1), weight.sum(1)  # (images, C_out)
    whole = weights.sum(0).clamp(min=torch.finfo(torch.float32).tiny)
    change = totals.sum(0) / whole
    if len(made) == 1:
        return torch.zeros_like(change)  # nothing says how it differs
    # Of so many images the weights are: where one of them has nearly all, nothing says how images differ.
    images = 1 / (weights / whole).square().sum(0).clamp(min=1 / len(made))
    variance = ((totals - change * weights) / whole).square().sum(0) * images
    by_chance = variance / ((images - 1) * change.square()).clamp(min=torch.finfo(torch.float32).tiny)
    return torch.where(images > 1.5, change * (1 - _SHRINKAGE * by_chance).clamp(min=0), 0.0)


def _sums(sample: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The sums (positions, C_out) of inputs (groups, d, positions) and weights (C_out, C_in / groups, kH, kW)."""
    return (weight.reshape(len(sample), -1, sample.shape[1]) @ sample).flatten(0, 1).mT
