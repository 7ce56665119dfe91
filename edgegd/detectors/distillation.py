"""Distillation: a student, quantized or with other activations, learns from the float model that it was made of.

Head (Hinton et al. 2015, section 2; for independent classes, or for one softmax of all, as the family has them): the
Kullback-Leibler divergence of each class score from the teacher's, and of each box side: of its distribution where the
head predicts one (Zheng et al. 2022, section 3.2), of its distance by the smooth L1 norm where it does not. Boxes count
as far as the teacher believes in an object there.
Neck: the squared distance of the feature maps that enter the head, over the teacher's mean square.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch import nn

from edgegd.detectors.families.registry import family_of
from edgegd.detectors.loss_terms import LossTerm
from edgegd.detectors.losses import in_float32
from edgegd.detectors.student import Student
from edgegd.errors import UnsupportedModelError
from edgegd.recipe.training import Distillation

_TINY = torch.finfo(torch.float32).tiny


class Distiller:
    """Compares a student with its teacher; to be used as a context, in which it sees what enters both heads.

    `teacher` is the deployed float detector; it is put in evaluation mode and takes no gradient.
    Raises UnsupportedModelError for head distillation of a family whose heads cannot be compared (RT-DETR).
    """

    def __init__(self, teacher: nn.Module, student: Student, settings: Distillation) -> None:
        self.teacher, self.settings = teacher.eval().requires_grad_(False), settings
        self._family = family = family_of(teacher)
        self._student_head, self._teacher_head = family.head(student.model), family.head(teacher)
        if not family.no_head_distillation:
            family.show_predictions(teacher)
            self._branches = family.branch_weights(student.model)
        elif settings.head > 0:
            raise UnsupportedModelError(
                f"train.distill.head is not possible for {family.name}: {family.no_head_distillation}.",
                expected="train.distill.head 0, train.distill.neck as you like",
                found=f"{settings.head}",
                mend="set train.distill.head to 0 (in an adaptation train.adapt.distill.head) and use neck",
            )
        self._features: dict[nn.Module, list[torch.Tensor]] = {}
        self._hooks: list[Any] = []

    def __enter__(self) -> Distiller:
        self._hooks = [head.register_forward_pre_hook(self._keep) for head in (self._student_head, self._teacher_head)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def _keep(self, head: nn.Module, arguments: tuple[Any, ...]) -> None:
        if head is self._teacher_head or head.training:
            self._features[head] = list(arguments[0])

    @torch.no_grad()
    def expect(self, images: torch.Tensor) -> Any:
        """What the teacher's head returns for the images (N, C, H, W) float32 that the student saw, in float32."""
        return in_float32(self.teacher(images))

    def terms(self, predictions: Any, expected: Any) -> list[LossTerm]:
        """The weighted differences in summands, after both forward passes: of each branch, and of each map of the neck.

        `predictions` is what the student's head returned in training mode, `expected` what `expect` did.
        """
        found: list[LossTerm] = []
        if self.settings.head > 0:
            for weight, own, target in self._branch_pairs(predictions, expected):
                difference, belief = self._family.head_difference(own, target)
                found.append(_term("distill_head", difference * (weight * self.settings.head), belief, 1.0))
        if self.settings.neck > 0:
            maps = [*zip(self._features[self._student_head], self._features[self._teacher_head], strict=True)]
            for own, target in maps:
                difference, square = feature_difference(own.float(), target.float())
                found.append(_term("distill_neck", difference * (self.settings.neck / len(maps)), square, _TINY))
        self._features.clear()
        return found

    def _branch_pairs(self, predictions: Any, expected: Any) -> list[tuple[float, Any, Any]]:
        if not self._branches:
            return [(1.0, predictions, expected)]
        return [(weight, predictions[branch], expected[branch]) for branch, weight in self._branches.items()]


def _term(name: str, loss: torch.Tensor, amount: torch.Tensor, least: float) -> LossTerm:
    return LossTerm(loss, {name: loss.detach()}, amount, least)


def feature_difference(own: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The squared difference of two feature maps (N, C, H, W) over the square of the second, summed over all values;
    and that square."""
    square = target.square().sum()
    return (own - target).square().sum() / square.clamp(min=_TINY), square
