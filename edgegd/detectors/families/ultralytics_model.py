"""What Ultralytics' families have in common: a sequence of layers whose last one is the head."""

from __future__ import annotations

from typing import Any

from torch import nn

from edgegd.detectors.families.folding import fold_all, learn_everything


def last_layer(model: Any) -> Any:
    """The head of an Ultralytics model; None for a module that is no sequence of layers."""
    layers = getattr(model, "model", None)
    return layers[-1] if isinstance(layers, nn.Sequential) and len(layers) else None


def head_path(model: Any) -> str:
    """The path of the last layer."""
    return f"model.{len(model.model) - 1}"


def deploy_layers(model: Any, *, fold: bool) -> None:
    """In place: float32, BatchNorm folded (unless `fold` is false), a head that returns one tensor, all weights
    learning."""
    model.float()
    if fold:
        fold_all(model)
    head = last_layer(model)
    head.export, head.format = True, "onnx"
    learn_everything(model)


def prepare_criterion(model: Any, hyp: Any) -> None:
    """Gives the model Ultralytics' own criterion; attributes are set as Ultralytics' trainer sets them."""
    model.args, model.nc = hyp, last_layer(model).nc
    model.criterion = model.init_criterion()
