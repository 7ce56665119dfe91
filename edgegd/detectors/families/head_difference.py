"""How far a student's predictions are from its teacher's, for heads whose predictions can be compared one by one."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch.nn import functional as F

Curvatures: TypeAlias = list[tuple[torch.Tensor, torch.Tensor]]
"""Raw predictions, and what the square of a small error of each adds to the difference from themselves."""
Difference: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""A difference, and the teacher's belief in objects: it was divided by that, or by 1 where that is less."""


def sigmoid_difference(own: dict[str, torch.Tensor], target: dict[str, torch.Tensor]) -> Difference:
    """How far one branch is from the teacher's: `scores` (N, classes, A) and `boxes` (N, 4 * bins, A), both raw.

    Normalised by the teacher's total belief in objects (at least 1), as the label loss is by its targets; 0 if equal.
    """
    belief = target["scores"].sigmoid()
    weight = belief.amax(1)  # (N, classes, A) -> (N, A)
    classes = F.binary_cross_entropy_with_logits(own["scores"], belief, reduction="sum")
    classes = classes - F.binary_cross_entropy_with_logits(target["scores"], belief, reduction="sum")
    sides_own, sides_target = (x["boxes"].unflatten(1, (4, -1)) for x in (own, target))  # -> (N, 4, bins, A)
    if sides_own.shape[2] == 1:
        boxes = F.smooth_l1_loss(sides_own, sides_target, reduction="none")
    else:
        boxes = F.kl_div(sides_own.log_softmax(2), sides_target.log_softmax(2), reduction="none", log_target=True)
    boxes = boxes.sum(2).mean(1)  # (N, 4, bins, A) -> (N, A)
    total = weight.sum()
    return (classes + (boxes * weight).sum()) / total.clamp(min=1), total


def softmax_difference(own: dict[str, torch.Tensor], target: dict[str, torch.Tensor]) -> Difference:
    """The same of `logits` (N, 1 + classes, A), of which one softmax chooses and the first is the background's, and of
    `offsets` (N, 4, A), raw. The divergence of two softmaxes is that of Hinton et al. 2015, section 2."""
    belief = target["logits"].softmax(1)
    weight = 1 - belief[:, 0]  # (N, 1 + classes, A) -> (N, A)
    classes = F.kl_div(own["logits"].log_softmax(1), belief, reduction="sum")
    boxes = F.smooth_l1_loss(own["offsets"], target["offsets"], reduction="none").mean(1)  # (N, 4, A) -> (N, A)
    total = weight.sum()
    return (classes + (boxes * weight).sum()) / total.clamp(min=1), total


def sigmoid_curvature(own: dict[str, torch.Tensor]) -> Curvatures:
    """Of `sigmoid_difference`: p(1 - p) / 2 for a score, q(1 - q) / 2 for a bin of a distribution (its diagonal alone).

    Normalised by the belief in objects.
    """
    belief = own["scores"].detach().sigmoid()
    weight = belief.amax(1)  # (N, classes, A) -> (N, A)
    total = _positive(weight.sum())
    shares = own["boxes"].detach().unflatten(1, (4, -1)).softmax(2)  # -> (N, 4, bins, A)
    bins = torch.ones_like(shares) if shares.shape[2] == 1 else shares * (1 - shares)
    of_boxes = bins / 8 * weight[:, None, None] / total
    return [(own["scores"], belief * (1 - belief) / 2 / total), (own["boxes"], of_boxes.flatten(1, 2))]


def softmax_curvature(own: dict[str, torch.Tensor]) -> Curvatures:
    """Of `softmax_difference`: q(1 - q) / 2 for a logit (its diagonal alone), 1 / 2 for an offset's distance."""
    belief = own["logits"].detach().softmax(1)
    weight = 1 - belief[:, 0]  # (N, 1 + classes, A) -> (N, A)
    total = _positive(weight.sum())
    of_offsets = (weight[:, None] / 8 / total).expand_as(own["offsets"])
    return [(own["logits"], belief * (1 - belief) / 2 / total), (own["offsets"], of_offsets)]


def _positive(total: torch.Tensor) -> torch.Tensor:
    return total.clamp(min=torch.finfo(torch.float32).tiny)
