"""Which SiLUs to replace by ReLU: those that save the most time for the least change of what the head returns.

Layers whose results meet in a concatenation are one unit, swapped together or not at all. ReLU results have the zero
point 0 and others have not: a concatenation of both cannot copy codes, it requantizes them. In four of YOLO26n at
320 px that took 20 to 42 % of the time which the one SiLU swapped before them had saved.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import nn

from edgegd.addresses import module_of
from edgegd.detectors.activation_swap import SwapUnit, set_activation
from edgegd.detectors.families.registry import family_of
from edgegd.plan.profiles import INTEGER, MOVE
from edgegd.plan.quant_plan import QuantPlan

_CARRY = ("add", "cat")  # what hands the sign of its operands on, beside movements


def silu_units(plan: QuantPlan) -> list[tuple[str, ...]]:
    """The integer SiLUs of a plan as paths, those together whose results meet in an integer concatenation."""
    unit: dict[str, set[str]] = {}  # path -> the unit that it is in, one set for all of its members
    reach: dict[str, set[str]] = {}  # tensor -> the SiLUs whose values are in it
    for op in plan.ops:
        if op.decision not in (INTEGER, MOVE):
            continue
        if op.operation == "silu":
            path = silu_path(op.address)
            reach[op.address] = {path}
            unit.setdefault(path, {path})
        elif op.decision == MOVE or op.operation in _CARRY:
            reach[op.address] = set().union(*(reach.get(source, set()) for source in op.inputs))
            if op.operation == "cat" and reach[op.address]:
                merged = set().union(*(unit[path] for path in reach[op.address]))
                unit.update(dict.fromkeys(merged, merged))
    order = {path: index for index, path in enumerate(unit)}
    return list(dict.fromkeys(tuple(sorted(members, key=order.__getitem__)) for members in unit.values()))


def silu_path(address: str) -> str:
    """The path of the SiLU that an address such as `model.0.act:silu:0` belongs to."""
    return module_of(address)


def choose(units: Iterable[SwapUnit], share: float) -> tuple[SwapUnit, ...]:
    """All units, those that save the most time for their noise first, the first ones marked `swapped`.

    Taken from the front until `share` (0..1) of the time of all SiLUs is saved: greedy for the ratio of both, as for a
    knapsack (Dantzig 1957). Units that save no time come last and are never taken.
    """
    ordered = sorted(units, key=lambda unit: unit.noise / unit.saved_ms if unit.saved_ms > 0 else math.inf)
    wanted, saved, result = share * sum(unit.saved_ms for unit in ordered), 0.0, []
    for unit in ordered:
        result.append(replace(unit, swapped=saved < wanted and unit.saved_ms > 0))
        saved += unit.saved_ms
    return tuple(result)


def swap_noise(model: nn.Module, images: Sequence[torch.Tensor], units: Sequence[tuple[str, ...]]) -> Iterator[float]:
    """For each unit in turn `SwapUnit.noise` of the deployed float model, everything else as it was.

    `images` are batches (N, C, H, W) float32. The model is as before after each unit.
    """
    expected = [head_outputs(model, batch) for batch in images]
    signal = [_variance_sum(maps) for maps in zip(*expected, strict=True)]
    for unit in units:
        before = {path: set_activation(model, path, nn.ReLU()) for path in unit}
        try:
            changes = [
                [
                    float((own - was).double().square().sum())
                    for own, was in zip(head_outputs(model, batch), maps, strict=True)
                ]
                for batch, maps in zip(images, expected, strict=True)
            ]
        finally:
            for path, activation in before.items():
                set_activation(model, path, activation)
        noise = [sum(column) for column in zip(*changes, strict=True)]
        yield statistics.fmean(n / s for n, s in zip(noise, signal, strict=True))


def _variance_sum(maps: Sequence[torch.Tensor]) -> float:
    """The sum of squares about the mean: the mean of class logits says nothing about objects."""
    count = sum(values.numel() for values in maps)
    mean = sum(float(values.double().sum()) for values in maps) / count
    return sum(float((values.double() - mean).square().sum()) for values in maps)


@torch.no_grad()
def head_outputs(model: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """What the deployed head has computed before decoding, or what enters it, in an order that images do not change.

    Of YOLO raw scores (N, classes, A) and boxes (N, 4 * bins, A) of the deployed head, each for every level by itself.
    Of RT-DETR the maps that enter its head: it chooses its queries by their scores.
    """
    return family_of(model).head_outputs(model.eval(), images)
