"""Optimizers, and the parameter groups with learning rates of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from ultralytics.optim import MuSGD

from edgegd.detectors.student import Student
from edgegd.plan.formats import UINT8_ACTIVATION
from edgegd.recipe.training import TrainSection

_CODES = UINT8_ACTIVATION.qmax - UINT8_ACTIVATION.qmin
_MUON, _SGD = 0.2, 1.0  # the shares that Ultralytics trains with (engine/trainer.py, build_optimizer)


def parameter_groups(student: Student, settings: TrainSection) -> list[dict[str, Any]]:
    """The groups `weights`, `biases`, `scales` and `zero_points`, each with its peak learning rate as `peak_lr`.

    Parameters of more than one dimension are weights; they alone decay. Scales learn as logarithms, so their rate is
    a relative one; zero points, which are codes, take the same fraction of the code range.
    """
    model = [parameter for parameter in student.model.parameters() if parameter.requires_grad]
    ranges = student.range_parameters()
    bias_lr = settings.lr0 if settings.bias_lr is None else settings.bias_lr
    return [
        _group("weights", [p for p in model if p.ndim > 1], settings.lr0, settings.weight_decay),
        _group("biases", [p for p in model if p.ndim <= 1], bias_lr),
        _group("scales", ranges["scales"], settings.range_lr),
        _group("zero_points", ranges["zero_points"], _CODES * settings.range_lr),
    ]


def _group(name: str, parameters: list[nn.Parameter], lr: float, weight_decay: float = 0.0) -> dict[str, Any]:
    return {"name": name, "params": parameters, "lr": lr, "peak_lr": lr, "weight_decay": weight_decay}


def make_optimizer(student: Student, settings: TrainSection) -> torch.optim.Optimizer:
    """The recipe's optimizer over the parameter groups.

    AdamW, Adam, SGD (with Nesterov momentum, or plain where train.momentum is 0), or MuSGD: SGD with Nesterov momentum
    plus, for weights, Muon's orthogonalized update, in the shares of Ultralytics' own training.
    """
    groups, momentum = parameter_groups(student, settings), settings.momentum
    if settings.optimizer == "MuSGD":
        for group in groups:
            group["use_muon"] = group["name"] == "weights"
        return MuSGD(groups, momentum=momentum, nesterov=momentum > 0, muon=_MUON, sgd=_SGD)
    # Fused: one call for hundreds of small tensors, on a CPU too.
    if settings.optimizer == "SGD":
        return torch.optim.SGD(groups, momentum=momentum, nesterov=momentum > 0, fused=True)
    kind = {"AdamW": torch.optim.AdamW, "Adam": torch.optim.Adam}[settings.optimizer]
    return kind(groups, betas=(momentum, 0.999), fused=True)


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Gives every group its peak learning rate times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
