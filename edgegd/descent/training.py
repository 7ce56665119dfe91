"""Everything that a step of the descent changes, the step itself, and how all of it is stored and restored."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from edgegd.descent.averaging import MovingAverage
from edgegd.descent.checkpoint import Checkpoint
from edgegd.descent.image_losses import ImageLossRecord
from edgegd.descent.optimizers import make_optimizer, set_learning_rates
from edgegd.descent.oscillation import Oscillation
from edgegd.descent.random_state import capture_random_state, restore_random_state
from edgegd.descent.record import Epoch
from edgegd.descent.telemetry import Clock, Probe, group_norms
from edgegd.detectors.distillation import Distiller
from edgegd.detectors.losses import label_loss, labelled_part, predict
from edgegd.detectors.student import FloatStudent, Student
from edgegd.recipe.training import TrainSection


class Training:
    """A student with its optimizer, average, gradient scaler and oscillation counts, and how far they are.

    `step` counts steps done; `totals` sums loss and parts over the steps of the present epoch; `best` is the state of
    the best epoch so far; `telemetry` what is known of the last step beside its loss (docs/telemetry.md). `images`,
    where it is set, is shown the label losses of the steps.
    """

    def __init__(self, student: Student, settings: TrainSection, distiller: Distiller | None) -> None:
        self.student, self.settings, self.distiller = student, settings, distiller
        self.device = torch.device(settings.device)
        self.optimizer = make_optimizer(student, settings)
        self.parameters: list[nn.Parameter] = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.average = MovingAverage(student, settings.ema_decay)
        self.half = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        self.scaler = torch.amp.GradScaler(
            self.device.type,
            enabled=settings.amp and self.half == torch.float16,  # bfloat16 has float32's exponents
        )
        self.oscillation: Oscillation | None = None
        if settings.oscillation != "off" and not isinstance(student, FloatStudent):
            self.oscillation = Oscillation(student, settings.oscillation, settings.damping)
        self.step = 0
        self.totals: dict[str, float] = {}
        self.telemetry: dict[str, Any] = {}
        self.images: ImageLossRecord | None = None
        self.epochs: list[Epoch] = []
        self.best: dict[str, torch.Tensor] = {}
        self.best_epoch, self.best_map50_95, self.start_map50_95 = 0, -math.inf, math.nan

    def take_step(
        self,
        batch: dict[str, Any] | Sequence[dict[str, Any]],
        learning_rate_factor: float,
        progress: float,
        *,
        probed: bool = False,
    ) -> dict[str, float]:
        """One step on one batch: the loss per image as `loss`, and its parts. `telemetry` has what else is known of it.

        Several batches are one whose gradient is accumulated, so that no more than one of them is in memory at a time
        (`accumulated_gradient`). A loss, or the norm of its gradient, that is not finite changes no weight and is
        returned as the loss. Under float16 a few such gradients are usual, and the scaler's business, until its scale
        is down to 1. Raises ValueError for no batch, or where several are to be probed.
        """
        clock = Clock()
        set_learning_rates(self.optimizer, learning_rate_factor)
        several = [batch] if isinstance(batch, dict) else batch
        if probed and len(several) > 1:
            raise ValueError("a probe looks at one batch")
        loss, parts = self.accumulated_gradient(several, clock)
        self.scaler.unscale_(self.optimizer)
        clock.lap("backward")
        norms = group_norms(self.optimizer)
        probe = self._probe(self.prepared(several[0]), loss) if probed else None
        clock.skip()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.settings.grad_clip or math.inf)
        # One transfer from the device for everything that is read.
        read = [loss, norm, *norms.values(), *(part.to(loss) for part in parts.values())]
        total, norm_value, *rest = torch.stack(read).tolist()
        gradient = dict(zip(norms, rest, strict=False))
        result = {"loss": total} | dict(zip(parts, rest[len(norms) :], strict=True))
        if not math.isfinite(result["loss"]):
            return {"loss": result["loss"]}
        if not math.isfinite(norm_value) and not (self.scaler.is_enabled() and self.scaler.get_scale() > 1):
            return {"loss": norm_value}
        if self.oscillation:
            self.oscillation.before_step(progress)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.oscillation:
            self.oscillation.after_step()
        self.average.update()
        self.step += 1
        for name, value in result.items():
            self.totals[name] = self.totals.get(name, 0.0) + value
        clock.lap("update")
        clipped = bool(self.settings.grad_clip) and norm_value > self.settings.grad_clip
        self.telemetry = {"gradient": gradient | {"all": norm_value}, "clipped": clipped}
        self.telemetry |= {"seconds": clock.seconds, "memory_mb": clock.memory_mb}
        if probe:
            self.telemetry["detail"] = probe.measure(self.average)
        return result

    def accumulated_gradient(
        self, batches: Sequence[dict[str, Any]], clock: Clock | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Leaves the gradient of the loss per image over all batches in the parameters, scaled by `scaler`.

        Returns that loss and its parts, detached. Each batch counts by its images. That is the gradient of one batch of
        all images where the loss is a mean over images, as distillation's is; a family's criterion that divides by the
        matched boxes of a batch (Ultralytics', torchvision's) divides by those of each batch here, and live BatchNorm
        sees each batch by itself. Raises ValueError without a batch.
        """
        images = sum(len(batch["img"]) for batch in batches)
        if not images:
            raise ValueError("no image to take a step on")
        clock = clock or Clock()
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, torch.Tensor] = {}
        for batch in batches:
            share = len(batch["img"]) / images
            loss, parts = self.loss_of(self.prepared(batch), self.images)
            clock.lap("forward")
            self.scaler.scale(loss * share).backward()
            for name, value in {"loss": loss, **parts}.items():
                sums[name] = sums.get(name, 0.0) + value.detach() * share  # type: ignore[arg-type]
            clock.lap("backward")
        return sums.pop("loss"), sums

    def prepared(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A batch on the training's device, its images as the model takes them: float32 (N, C, H, W) in 0..1."""
        moved = {
            k: v.to(self.device, non_blocking=True) if isinstance(v, torch.Tensor) else v for k, v in batch.items()
        }
        moved["img"] = moved["img"].float() / 255
        return moved

    def _probe(self, batch: dict[str, Any], loss: torch.Tensor) -> Probe:
        return Probe(self.student, self.optimizer, batch, float(loss.detach()), lambda part: self.loss_of(part)[0])

    def loss_of(
        self, batch: dict[str, Any], images: ImageLossRecord | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss per image of a `prepared` batch, with the student in training mode, and its parts by name.

        Of labels, of the teacher, or of both, as the settings say. It is a scalar to be differentiated. `images`
        is shown what the label loss was computed from.
        """
        labels = self.settings.distill.labels or self.distiller is None
        with torch.autocast(self.device.type, self.half, enabled=self.settings.amp):
            predictions = predict(self.student, batch, labels=labels)
        losses: list[torch.Tensor] = []
        parts: dict[str, torch.Tensor] = {}
        if labels and (seen := labelled_part(batch, predictions)):
            loss, parts = label_loss(self.student, *seen)
            losses.append(loss)
            if images:
                images.see(batch, *seen)
        if self.distiller is not None:
            with torch.autocast(self.device.type, self.half, enabled=self.settings.amp):
                expected = self.distiller.expect(batch["img"])
            loss, of_teacher = self.distiller.loss(predictions, expected)
            losses.append(loss)
            parts = {**parts, **of_teacher}
        return torch.stack(losses).sum(), parts

    def freeze_ranges(self) -> None:
        """From now on ranges stay at their averages: what is trained, evaluated and exported has the same ones."""
        self.average.hand_over(p for parameters in self.student.range_parameters().values() for p in parameters)
        self.student.update_ranges()

    def checkpoint(self) -> Checkpoint:
        """Everything, between two steps."""
        random_tensors, random_numbers = capture_random_state()
        optimizer = {
            f"{index}.{key}": value
            for index, state in self.optimizer.state_dict()["state"].items()
            for key, value in state.items()
        }
        tensors = {
            "student": self.student.state_dict(),
            "average": self.average.state_dict(),
            "best": self.best,
            "optimizer": optimizer,
            "random": random_tensors,
            "oscillation": self.oscillation.state_dict() if self.oscillation else {},
        }
        record = {
            "step": self.step,
            "average_steps": self.average.steps,
            "totals": self.totals,
            "epochs": [dataclasses.asdict(epoch) for epoch in self.epochs],
            "best_epoch": self.best_epoch,
            "best_map50_95": self.best_map50_95,
            "start_map50_95": self.start_map50_95,
            "scaler": self.scaler.state_dict(),
            "random": random_numbers,
        }
        return Checkpoint(tensors, record)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Takes over a checkpoint; KeyError, TypeError, ValueError or RuntimeError where it does not fit."""
        tensors, record = checkpoint.tensors, checkpoint.record
        self.student.load_state_dict(dict(tensors["student"]))
        self.average.load_state_dict(tensors["average"], record["average_steps"])
        self.optimizer.load_state_dict(
            {
                "state": _by_parameter(tensors.get("optimizer", {})),
                "param_groups": self.optimizer.state_dict()["param_groups"],
            }
        )
        if self.oscillation:
            self.oscillation.load_state_dict(tensors["oscillation"])
        self.scaler.load_state_dict(record["scaler"])
        self.best = dict(tensors["best"])
        self.step, self.totals = record["step"], dict(record["totals"])
        self.epochs = [Epoch(**row) for row in record["epochs"]]
        self.best_epoch, self.best_map50_95 = record["best_epoch"], record["best_map50_95"]
        self.start_map50_95 = record["start_map50_95"]
        restore_random_state(dict(tensors["random"]), record["random"])


def _by_parameter(tensors: Mapping[str, torch.Tensor]) -> dict[int, dict[str, torch.Tensor]]:
    """`INDEX.KEY` -> tensor as a torch optimizer's state: index -> key -> tensor."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    return state
