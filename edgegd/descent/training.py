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
from edgegd.descent.ranks import ALONE, Ranks
from edgegd.descent.record import Epoch
from edgegd.descent.synchronized_norm import synchronize_norms
from edgegd.descent.telemetry import LOOKED_AT, Clock, Probe, group_norms
from edgegd.descent.whole_batch import Batch, WholeBatch
from edgegd.detectors.data_order import seed_of
from edgegd.detectors.distillation import Distiller
from edgegd.detectors.loss_terms import LossTerm, joined
from edgegd.detectors.losses import first_images, in_parts, label_terms, labelled_part, predict
from edgegd.detectors.student import FloatStudent, Student
from edgegd.recipe.training import TrainSection


class Training:
    """A student with its optimizer, average, gradient scaler and oscillation counts, and how far they are.

    `step` counts steps done; `totals` sums loss and parts over the steps of the present epoch; `best` is the state of
    the best epoch so far; `telemetry` what is known of the last step beside its loss (docs/telemetry.md). `images`,
    where it is set, is shown the label losses of the steps. With several `ranks` every method is called in all of them,
    with their shares of a batch; what it returns is of the whole one.
    """

    def __init__(
        self, student: Student, settings: TrainSection, distiller: Distiller | None, ranks: Ranks = ALONE
    ) -> None:
        self.student, self.settings, self.distiller, self.ranks = student, settings, distiller, ranks
        self._norms = synchronize_norms(student, ranks) if ranks.size > 1 else []
        self._whole = WholeBatch(student, lambda part: self.terms_of(self.prepared(part)), ranks)
        self.device = torch.device(settings.device)
        self.optimizer = make_optimizer(student, settings)
        self.parameters: list[nn.Parameter] = [p for group in self.optimizer.param_groups for p in group["params"]]
        self._ranges = [parameter for group in student.range_parameters().values() for parameter in group]
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
        self._shows_images = False
        self.epochs: list[Epoch] = []
        self.best: dict[str, torch.Tensor] = {}
        self.best_epoch, self.best_map50_95, self.start_map50_95 = 0, -math.inf, math.nan

    def take_step(
        self,
        batch: Batch | Sequence[Batch],
        learning_rate_factor: float,
        progress: float,
        *,
        probed: bool = False,
    ) -> dict[str, float]:
        """One step on one batch: the loss per image as `loss`, and its parts. `telemetry` has what else is known of it.

        The batch is computed in `train.accumulate` parts, several batches as these, so that no more than one of them is
        in memory at a time: the gradient is that of one batch of all images (`accumulated_gradient`). A loss, or the
        norm of its gradient, that is not finite changes no weight and is returned as the loss. Under float16 a few such
        gradients are usual, and the scaler's business, until its scale is down to 1. Raises ValueError for no image.
        """
        clock = Clock()
        set_learning_rates(self.optimizer, learning_rate_factor)
        if self.ranks.size > 1:  # what a model draws (RT-DETR's noise) does not depend on when a descent was resumed
            torch.manual_seed(seed_of(self.settings.seed, self.step, self.ranks.rank))
        parts_of_batch = self.parts_of(batch)
        loss, parts = self.accumulated_gradient(parts_of_batch, clock)
        self.scaler.unscale_(self.optimizer)
        clock.lap("backward")
        norms = group_norms(self.optimizer)
        probe = self._probe(parts_of_batch, float(self.ranks.sum(loss))) if probed else None
        clock.skip()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.settings.grad_clip or math.inf)
        # One transfer from the device for everything that is read.
        read = [loss, norm, *norms.values(), *(part.to(loss) for part in parts.values())]
        total, norm_value, *rest = torch.stack(read).tolist()
        gradient = dict(zip(norms, rest, strict=False))
        result = self.ranks.sum_numbers({"loss": total} | dict(zip(parts, rest[len(norms) :], strict=True)))
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
        self.ranks.require_equal(self._ranges, "ranges")
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

    def parts_of(self, batch: Batch | Sequence[Batch]) -> list[Batch]:
        """The parts in which a batch is computed; a batch that comes in parts stays in these.

        Each process has equally many of them: where a share has fewer images than there are parts, all have fewer.
        """
        if not isinstance(batch, dict):
            return [part for part in batch if len(part["img"])]
        parts = self.settings.accumulate
        if parts > 1 and self.ranks.size > 1:
            parts = min(self.ranks.gather(min(parts, len(batch["img"]))))
        return in_parts(batch, parts)

    def accumulated_gradient(
        self, parts: Sequence[Batch], clock: Clock | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Leaves the gradient of the loss per image over all parts in the parameters, scaled by `scaler`.

        Returns what this process adds to that loss and to its parts, detached. The gradient is that of one batch of all
        images, to the rounding of sums (edgegd.descent.whole_batch), with two exceptions: live BatchNorm sees each part
        of one process by itself, and RT-DETR repeats its noisy labels as each part allows. Raises ValueError without an
        image.
        """
        if not sum(len(part["img"]) for part in parts):
            raise ValueError("no image to take a step on")
        self.optimizer.zero_grad(set_to_none=True)
        for norm in self._norms:
            norm.idle = bool(parts[0].get("idle"))
        lap = clock.lap if clock else lambda part: None
        self._shows_images = True  # of a step alone, and not of what looks at one
        try:
            return self._whole.backward(parts, self.scaler.scale, lap)
        finally:
            self._shows_images = False
            if self.images and self.ranks.size > 1:
                self.images.share(self.ranks.gather)

    def prepared(self, batch: Batch) -> Batch:
        """A batch on the training's device, its images as the model takes them: float32 (N, C, H, W) in 0..1."""
        moved = {
            k: v.to(self.device, non_blocking=True) if isinstance(v, torch.Tensor) else v for k, v in batch.items()
        }
        moved["img"] = moved["img"].float() / 255
        return moved

    def _probe(self, parts: Sequence[Batch], loss: float) -> Probe:
        shown = self.prepared(first_images(parts[0], LOOKED_AT))["img"]
        return Probe(self.student, self.optimizer, parts, loss, self._whole.gradients, shown, self.ranks)

    def loss_of(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss per image of a `prepared` batch, with the student in training mode, and its parts by name.

        Of labels, of the teacher, or of both, as the settings say. It is a scalar to be differentiated.
        """
        return joined(self.terms_of(batch), None)

    def terms_of(self, batch: Batch) -> list[LossTerm]:
        """The same in summands, by which a batch in parts is put together; of an idle batch all count for nothing."""
        labels = self.settings.distill.labels or self.distiller is None
        with torch.autocast(self.device.type, self.half, enabled=self.settings.amp):
            predictions = predict(self.student, batch, labels=labels)
        terms = label_terms(self.student, batch, predictions) if labels else []
        is_shown = self._shows_images and labels and torch.is_grad_enabled() and not batch.get("idle")
        if self.images and is_shown and (seen := labelled_part(batch, predictions)):
            self.images.see(batch, *seen)
        if self.distiller is not None:
            with torch.autocast(self.device.type, self.half, enabled=self.settings.amp):
                expected = self.distiller.expect(batch["img"])
            terms = [*terms, *self.distiller.terms(predictions, expected)]
        if batch.get("idle"):
            return [LossTerm(term.loss * 0.0, {}, 0.0, term.least) for term in terms]
        return terms

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
