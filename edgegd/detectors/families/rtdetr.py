"""RT-DETR of Ultralytics: queries, chosen by their scores, that a transformer refines; no NMS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from ultralytics.nn.modules import RTDETRDecoder
from ultralytics.utils import IterableSimpleNamespace

from edgegd.detectors.families.family import Family
from edgegd.detectors.families.ultralytics_model import deploy_layers, head_path, last_layer, prepare_criterion
from edgegd.detectors.loss_terms import LossTerm
from edgegd.errors import UnsupportedModelError
from edgegd.plan.profiles.table import HeadPaths

_QUERY_DECODERS = (
    "decoder",
    "query_pos_head",
    "enc_output",
    "enc_score_head",
    "enc_bbox_head",
    "dec_score_head",
    "dec_bbox_head",
)


@dataclass(frozen=True)
class Rtdetr(Family):
    """Two models are compared by the maps that enter their heads: what a head returns has no fixed order."""

    name: str = "RT-DETR"
    no_head_distillation: str = "student and teacher each choose their own queries"
    no_mixed_labels: str = "its queries are made of labels"

    def recognises(self, model: nn.Module) -> bool:
        """By the class of the last layer."""
        return isinstance(last_layer(model), RTDETRDecoder)

    def head(self, model: Any) -> Any:
        """The last layer."""
        return last_layer(model)

    def deploy(self, model: Any, *, end2end: bool | None, fold: bool) -> nn.Module:
        """In place. There is one head, which needs no NMS."""
        if end2end is False:
            raise UnsupportedModelError(
                "model.end2end is false, but RT-DETR has no raw head.", mend="leave model.end2end out"
            )
        deploy_layers(model, fold=fold)
        return model  # type: ignore[no-any-return]

    def output_kind(self, model: Any) -> str:
        """Always `queries`."""
        return "queries"

    def head_paths(self, model: Any) -> HeadPaths:
        """No convolution makes boxes; these modules of the head refine them."""
        path = head_path(model)
        return HeadPaths(path, frozenset(), tuple(f"{path}.{name}" for name in _QUERY_DECODERS))

    def prepare_loss(self, model: Any, hyp: IterableSimpleNamespace) -> None:
        """Ultralytics' criterion."""
        prepare_criterion(model, hyp)

    def label_terms(self, model: Any, batch: dict[str, Any], predictions: Any) -> list[LossTerm]:
        """The criterion's loss is a mean over the labelled boxes already.

        Two things of a part are not those of the whole batch: how often its noisy labels are repeated (the more often,
        the fewer boxes its fullest image has), and the loss of scores where no image has a box, which is another
        function (DETRLoss._get_loss_class of Ultralytics).
        """
        loss, parts = model.loss(batch, predictions)
        return [LossTerm(loss, parts, float(len(batch["bboxes"])))]

    def predictions_of(self, predictions: Any, chosen: torch.Tensor) -> Any:
        """Those of the queries alone: what the decoder restores from noisy labels (denoising) is no prediction."""
        boxes, scores, entering_boxes, entering_scores, denoising = predictions
        if denoising is not None:  # the layers' tensors are (L, N, queries, ...), noisy labels first
            boxes, scores = (x.split(denoising["dn_num_split"], 2)[1] for x in (boxes, scores))
        return boxes[:, chosen], scores[:, chosen], entering_boxes[chosen], entering_scores[chosen], None

    def training_arguments(self, batch: dict[str, Any]) -> Mapping[str, Any]:
        """The decoder is shown noisy labels to restore (denoising): the labels as RTDETRDetectionModel.loss hands them
        to it (ultralytics/nn/tasks.py)."""
        device, images = batch["img"].device, len(batch["img"])
        owners = batch["batch_idx"].to(device, dtype=torch.long).view(-1)
        targets = {
            "cls": batch["cls"].to(device, dtype=torch.long).view(-1),
            "bboxes": batch["bboxes"].to(device),
            "batch_idx": owners,
            "gt_groups": torch.bincount(owners, minlength=images).tolist(),
        }
        return {"batch": targets}
