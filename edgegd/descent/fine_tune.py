"""Gradient descent under fake quantization: Ultralytics' loss, warm-up and cosine, an average of the weights."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from ultralytics.utils import IterableSimpleNamespace
from ultralytics.utils.loss import E2ELoss

from edgegd.descent.averaging import MovingAverage
from edgegd.errors import NaNLossError
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.folding import detection_head
from edgegd.recipe.schema import TrainSection


@dataclass(frozen=True)
class Epoch:
    """A row of the descent's record: mean losses of the epoch, its last learning rate, mAP of the averaged model."""

    epoch: int
    loss: float
    parts: dict[str, float]
    lr: float
    map50_95: float


@dataclass(frozen=True)
class Descent:
    """The whole record; `best_epoch` 0 is the calibrated model before the first step."""

    best_epoch: int
    best_map50_95: float
    epochs: tuple[Epoch, ...]


def seed_everything(seed: int) -> None:
    """Seeds torch, numpy and random, which Ultralytics' augmentation draws from."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def learning_rate(step: int, steps: int, warmup_steps: int, settings: TrainSection) -> float:
    """Linear warm-up to lr0, then a cosine down to lr0 * lrf (Loshchilov and Hutter 2017, equation 5)."""
    if step < warmup_steps:
        return settings.lr0 * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(steps - warmup_steps, 1)
    return settings.lr0 * (settings.lrf + (1 - settings.lrf) * 0.5 * (1 + math.cos(math.pi * progress)))


def make_optimizer(model: nn.Module, settings: TrainSection) -> torch.optim.Optimizer:
    """AdamW, Adam or SGD with weight decay on convolution weights and none on biases."""
    learned = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learned if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "SGD":
        return torch.optim.SGD(groups, lr=settings.lr0, momentum=settings.momentum, nesterov=settings.momentum > 0)
    kind = {"AdamW": torch.optim.AdamW, "Adam": torch.optim.Adam}[settings.optimizer]
    return kind(groups, lr=settings.lr0, betas=(settings.momentum, 0.999))


def prepare_loss(model: Any, hyp: IterableSimpleNamespace) -> None:
    """Gives the model Ultralytics' criterion, weighted for the head that is deployed.

    A dual-head model's end-to-end head sends no gradient into the backbone, so its deployment keeps the one-to-many
    loss at the weight that Ultralytics' schedule ends with (E2ELoss.final_o2m); a raw deployment trains that head
    alone, and its end-to-end head gets no gradient.
    """
    model.args = hyp
    model.criterion = model.init_criterion()
    if not isinstance(model.criterion, E2ELoss):
        return
    if detection_head(model).end2end:
        model.criterion.o2m = model.criterion.final_o2m
        model.criterion.o2o = 1.0 - model.criterion.o2m
    else:
        one_to_many = model.criterion.one2many
        model.criterion = lambda predictions, batch: one_to_many.loss(predictions["one2many"], batch)


def fine_tune(
    quantized: QuantizedModel,
    batches: Iterable[dict[str, Any]],
    settings: TrainSection,
    evaluate: Callable[[], float],
    save_best: Callable[[int], None],
    progress: Callable[[int, int, str], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Descent:
    """Runs `settings.epochs` epochs over `batches` (one iteration is one epoch; it must have a length).

    `evaluate()` returns the mAP of `quantized` as it is then; `save_best(epoch)` stores it whenever that is the best so
    far, the calibrated model (epoch 0) included. `progress(step, steps, text)` is called after every step, `on_epoch`
    with every row of the record.
    Raises NaNLossError at the first loss or gradient that is not finite; what save_best stored stays valid.
    """
    model: Any = quantized.model
    optimizer = make_optimizer(model, settings)
    average = MovingAverage(model, settings.ema_decay)
    per_epoch = len(batches)  # type: ignore[arg-type]
    steps, warmup_steps = settings.epochs * per_epoch, round(settings.warmup_epochs * per_epoch)
    best, best_epoch, record, step = evaluate(), 0, [], 0
    save_best(0)
    for epoch in range(1, settings.epochs + 1):
        quantized.train()
        total, parts = 0.0, {}  # type: float, dict[str, float]
        for batch in batches:
            lr = learning_rate(step, steps, warmup_steps, settings)
            for group in optimizer.param_groups:
                group["lr"] = lr
            loss, items = _step(quantized, batch, optimizer, settings)
            step += 1
            if not math.isfinite(loss):
                raise NaNLossError(
                    f"The loss or its gradient became {loss} at step {step} of {steps} (epoch {epoch}), "
                    f"learning rate {lr:.3g}.",
                    expected="a finite loss",
                    mend="lower train.lr0 or train.grad_clip",
                )
            average.update(model)
            total += loss
            parts = {name: parts.get(name, 0.0) + value for name, value in items.items()}
            if progress:
                progress(step, steps, f"epoch {epoch}/{settings.epochs} loss {loss:.3f} lr {lr:.1e}")
        with average.applied(model):
            quantized.follow_weights()
            score = evaluate()
            if score > best:
                best, best_epoch = score, epoch
                save_best(epoch)
        means = {name: value / per_epoch for name, value in parts.items()}
        record.append(Epoch(epoch, total / per_epoch, means, lr, score))
        if on_epoch:
            on_epoch(record[-1])
    return Descent(best_epoch, best, tuple(record))


def _step(quantized: QuantizedModel, batch: dict[str, Any], optimizer: torch.optim.Optimizer,
          settings: TrainSection) -> tuple[float, dict[str, float]]:
    """One step on one batch: the loss per image and its parts.

    A loss, or the norm of its gradient, that is not finite changes no weight and is returned as the loss.
    """
    device = torch.device(settings.device)
    batch = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
    batch["img"] = batch["img"].float() / 255
    losses, parts = quantized.model.loss(batch, quantized(batch["img"]))  # type: ignore[operator,union-attr]
    loss = losses.sum() / len(batch["img"])
    if not torch.isfinite(loss):
        return float(loss), {}
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(quantized.model.parameters(), settings.grad_clip or math.inf)
    if not torch.isfinite(norm):
        return float(norm), {}
    optimizer.step()
    return float(loss.detach()), {name: float(value) for name, value in parts.items()}
