"""What a family of detectors tells everything else: head, deployment, output, losses, and what it cannot do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from ultralytics.utils import IterableSimpleNamespace

from edgegd.detectors.families.head_difference import Curvatures, Difference
from edgegd.detectors.families.image_losses import EachAlone, ImageLosses, rows_of
from edgegd.detectors.loss_terms import LossTerm
from edgegd.plan.profiles.table import HeadPaths


@dataclass(frozen=True)
class Family(ABC):
    """One kind of detector. Models are given as `Any`: only the family knows their attributes.

    `name` is how messages call it. `no_head_distillation` says why the predictions of two heads cannot be compared one
    by one, `no_float_training` why model.float cannot train the model, `no_mixed_labels` why labelled and unlabelled
    images cannot be in one step; each is empty where it is possible.

    A deployed model returns one float32 tensor of the contract `output_kind` for images (N, C, H, W) float32 in 0..1 in
    evaluation mode, by operations that do not depend on the images. In training mode it returns what `label_terms`
    takes.
    """

    name: str
    no_head_distillation: str = ""
    no_float_training: str = ""
    no_mixed_labels: str = ""

    @abstractmethod
    def recognises(self, model: nn.Module) -> bool:
        """Whether a model, deployed or not, is of this family."""

    @abstractmethod
    def head(self, model: Any) -> Any:
        """The module that decodes: its first argument is the list of feature maps (N, C, H, W), the neck's results."""

    @abstractmethod
    def deploy(self, model: Any, *, end2end: bool | None, fold: bool) -> nn.Module:
        """The deployed form, see edgegd.detectors.deployment.deploy; UnsupportedModelError says what is refused."""

    @abstractmethod
    def output_kind(self, model: Any) -> str:
        """The kind of the deployed output (edgegd.runtime.contract): end2end, queries or raw."""

    @abstractmethod
    def head_paths(self, model: Any) -> HeadPaths:
        """Where the deployed model's head and its box convolutions are, for the placement rules."""

    @abstractmethod
    def prepare_loss(self, model: Any, hyp: IterableSimpleNamespace) -> None:
        """Prepares a deployed model for `label_terms`; `hyp` is Ultralytics' configuration of the training."""

    @abstractmethod
    def label_terms(self, model: Any, batch: dict[str, Any], predictions: Any) -> list[LossTerm]:
        """The loss per image in summands: one for each branch of `branch_weights` in its order, or one alone.

        `batch` is that of edgegd.detectors.batches, images in 0..1; `predictions` is what the model returned for it in
        training mode, in float32. Each amount is what that summand is divided by, so that a batch may be computed in
        parts (edgegd.detectors.loss_terms); of a mean over images it is their number."""

    def image_losses(self, model: Any) -> ImageLosses:
        """What tells the loss of each image of a batch after its `label_terms`."""
        return EachAlone(self, model)

    def predictions_of(self, predictions: Any, chosen: torch.Tensor) -> Any:
        """Those of the chosen images (N,) bool of a batch alone, as `label_terms` takes them."""
        return rows_of(predictions, chosen)

    def training_arguments(self, batch: dict[str, Any]) -> Mapping[str, Any]:
        """What the model's forward pass takes in training beside the images."""
        return {}

    def branch_weights(self, model: Any) -> dict[str, float]:
        """The branches of a deployed head that are trained, with their weights; empty for a single head."""
        return {}

    def show_predictions(self, model: Any) -> None:
        """Makes a deployed model's head, and it alone, return in evaluation what it returns in training.

        Called only where heads can be compared.
        """
        raise NotImplementedError(f"{self.name}: {self.no_head_distillation}")

    def head_difference(self, own: Any, target: Any) -> Difference:
        """How far a student's predictions (of one branch) are from its teacher's: a scalar, 0 where they are equal, and
        what it was divided by, which is at least 1.

        Called only where heads can be compared.
        """
        raise NotImplementedError(f"{self.name}: {self.no_head_distillation}")

    def head_curvature(self, predictions: Any) -> Curvatures:
        """What a small error of each prediction (of one branch) adds to `head_difference`, where it is 0.

        Called only where heads can be compared.
        """
        raise NotImplementedError(f"{self.name}: {self.no_head_distillation}")

    def head_outputs(self, model: Any, images: torch.Tensor) -> list[torch.Tensor]:
        """Tensors by which two deployed models in evaluation mode are compared, in a fixed order.

        They are the maps that enter the head, unless the family knows better.
        """
        entering: list[torch.Tensor] = []
        hook = self.head(model).register_forward_pre_hook(lambda _, arguments: entering.extend(arguments[0]))
        try:
            model(images)
        finally:
            hook.remove()
        return entering

    def class_names(self, model: Any) -> tuple[str, ...]:
        """The names of the classes in the order of their ids."""
        return tuple(model.names[index] for index in sorted(model.names))

    def stride(self, model: Any) -> int:
        """The pixels of which each side of the image must be a multiple."""
        return int(model.stride.max())
