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
from torch.nn import functional as F

from edgegd.detectors.families.registry import family_of
from edgegd.detectors.losses import in_float32
from edgegd.detectors.student import Student
from edgegd.errors import UnsupportedModelError
from edgegd.recipe.training import Distillation


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

    def loss(self, predictions: Any, expected: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The weighted sum of both differences and its detached parts, after both forward passes.

        `predictions` is what the student's head returned in training mode, `expected` what `expect` did.
        """
        parts: dict[str, torch.Tensor] = {}
        if self.settings.head > 0:
            parts["distill_head"] = self._head_difference(predictions, expected) * self.settings.head
        if self.settings.neck > 0:
            maps = zip(self._features[self._student_head], self._features[self._teacher_head], strict=True)
            differences = [feature_difference(own.float(), target.float()) for own, target in maps]
            parts["distill_neck"] = torch.stack(differences).mean() * self.settings.neck
        self._features.clear()
        return torch.stack(list(parts.values())).sum(), {name: part.detach() for name, part in parts.items()}

    def _head_difference(self, predictions: Any, expected: Any) -> torch.Tensor:
        difference = self._family.head_difference
        if not self._branches:
            return difference(predictions, expected)
        differences = [
            weight * difference(predictions[branch], expected[branch]) for branch, weight in self._branches.items()
        ]
        return torch.stack(differences).sum()


def feature_difference(own: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The mean squared difference of two feature maps (N, C, H, W) over the mean square of the second."""
    return F.mse_loss(own, target) / target.square().mean().clamp(min=torch.finfo(torch.float32).tiny)
