"""Gradient descent, in float or fake-quantized: epochs of steps, the best of them by mAP, checkpoints in between."""

from __future__ import annotations

import contextlib
import math
import time
from typing import Any

from torch import nn

from edgegd.descent.checkpoint import Checkpoint
from edgegd.descent.listener import Listener, Storage
from edgegd.descent.ranks import ALONE, Ranks
from edgegd.descent.record import Descent, Epoch, StepLog
from edgegd.descent.schedule import learning_rate_factor, ranges_learn
from edgegd.descent.training import Training
from edgegd.detectors.batches import EpochBatches
from edgegd.detectors.distillation import Distiller
from edgegd.detectors.student import Student
from edgegd.errors import NaNLossError
from edgegd.recipe.training import TrainSection

NOT_STORED = Storage()


def fine_tune(
    student: Student,
    batches: EpochBatches,
    settings: TrainSection,
    listener: Listener,
    *,
    teacher: nn.Module | None = None,
    storage: Storage = NOT_STORED,
    ranks: Ranks = ALONE,
) -> Descent:
    """Runs `settings.epochs` epochs; the loss of `student.model` must have been prepared (edgegd.detectors.losses).

    `teacher` is the deployed float detector, needed where the settings distil. The student has its last parameters
    afterwards, not their averages. With several `ranks` all of them call this with equal students and their share of
    `batches`; `storage` is the first one's, and the others are given none.
    Raises NaNLossError at the first loss or gradient that is not finite; what the listener kept stays valid.
    Raises TrainingCheckpointError where `storage.resume` does not fit the student.
    """
    distils = settings.distill.asks
    if distils and teacher is None:
        raise ValueError("distillation needs a teacher")
    distiller = Distiller(teacher, student, settings.distill) if distils and teacher is not None else None
    loop = _Loop(Training(student, settings, distiller, ranks), batches, listener, storage)
    with contextlib.ExitStack() as stack:
        if distiller:
            stack.enter_context(distiller)
        resume = ranks.of_first(lambda: storage.resume)
        if resume:
            loop.restore(resume)
        if storage.log:
            loop.log = stack.enter_context(contextlib.closing(StepLog(storage.log, loop.training.step)))
        if storage.path:
            storage.path.begin(student.model, loop.training.average, loop.steps, loop.training.step)
        if storage.images:
            storage.images.begin(student, settings.epochs)
            stack.callback(storage.images.end)
            loop.training.images = storage.images
        loop.logs = ranks.of_first(lambda: loop.log is not None)
        if not resume:
            loop.start()
        for number in range(len(loop.training.epochs) + 1, settings.epochs + 1):
            loop.epoch(number)
    return loop.descent()


class _Loop:
    """The epochs over a Training, with its checkpoints."""

    def __init__(self, training: Training, batches: EpochBatches, listener: Listener, storage: Storage) -> None:
        self.training, self.batches, self.listener = training, batches, listener
        self.file, self.path, self.images = storage.file, storage.path, storage.images
        self.log: StepLog | None = None
        self.logs = False  # whether there is a log here, or in the first process
        settings = training.settings
        self.per_epoch = len(batches)
        self.steps = settings.epochs * self.per_epoch
        self.warmup_steps = round(settings.warmup_epochs * self.per_epoch)
        self.saved_at = time.monotonic()

    def start(self) -> None:
        """Evaluates the student as it is: epoch 0."""
        self.training.ranks.require_equal(self.training.student.state_dict().values(), "weights")
        self.training.start_map50_95 = self.listener.evaluate()
        self._keep_if_best(0, self.training.start_map50_95)
        self._save()
        self.listener.on_start(self.training.start_map50_95)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Goes on from a checkpoint, and stores the best model again: its own file may be older, newer or gone."""
        training, student = self.training, self.training.student
        try:
            student.load_state_dict(dict(checkpoint.tensors["best"]))
            self.listener.keep(checkpoint.record["best_epoch"])
            training.restore(checkpoint)
            if self.path:
                self.path.restore(checkpoint.tensors.get("path", {}))
            if self.images:
                self.images.restore(checkpoint.tensors.get("images", {}))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            if self.file is None:
                raise
            raise self.file.error(
                "does not fit the model",
                "the tensors of this model and its plan",
                f"{type(error).__name__}: {str(error)[:200]}",
            ) from error

    def epoch(self, number: int) -> None:
        """The rest of epoch `number` (from 1) and its evaluation."""
        training, epochs = self.training, self.training.settings.epochs
        first = training.step - (number - 1) * self.per_epoch
        self._set_ranges(number, first)
        if self.images:
            self.images.start(number)
        training.student.train()
        waited = time.perf_counter()
        for batch in self.batches.epoch(number, first):
            data_s = round(time.perf_counter() - waited, 5)
            probed = self.logs and self._is_probed(training.step)
            progress = training.step / max(self.steps - 1, 1)
            result = training.take_step(batch, self._rate(training.step), progress, probed=probed)
            rates = {group["name"]: group["lr"] for group in training.optimizer.param_groups}
            if not math.isfinite(result["loss"]):
                self._record({"step": training.step + 1, "epoch": number, "loss": None, "lr": rates})
                raise _nan_loss(result["loss"], training.step + 1, self.steps, number, rates["weights"])
            telemetry = training.telemetry
            seconds = {"data": data_s, **telemetry["seconds"]}
            self._record(
                {"step": training.step, "epoch": number, **result, "lr": rates, **telemetry, "seconds": seconds}
            )
            if self.path:
                self.path.take(training.step)
            text = f"epoch {number}/{epochs} loss {result['loss']:.3f} lr {rates['weights']:.1e}"
            self.listener.on_step(training.step, self.steps, text)
            if self.file and time.monotonic() - self.saved_at >= 60 * training.settings.checkpoint_minutes:
                self._save()
            waited = time.perf_counter()
        self.listener.on_epoch(self._finish_epoch(number))

    def _record(self, row: dict[str, Any]) -> None:
        if self.log:
            self.log.write(row)
            self.listener.on_row(row)

    def _is_probed(self, step: int) -> bool:
        """Whether the step after so many is looked at closely: the first at the full rate, and from it every N-th."""
        every, first = self.training.settings.probe_every, min(self.warmup_steps, self.steps - 1)
        return every > 0 and step >= first and (step - first) % every == 0

    def _rate(self, step: int) -> float:
        return learning_rate_factor(step, self.steps, self.warmup_steps, self.training.settings.lrf)

    def _set_ranges(self, number: int, first: int) -> None:
        training = self.training
        learn = ranges_learn(number, training.settings)
        if not learn and first == 0 and (number == 1 or ranges_learn(number - 1, training.settings)):
            training.freeze_ranges()
        training.student.learn_ranges(learn)

    def _finish_epoch(self, number: int) -> Epoch:
        training = self.training
        means = {name: total / self.per_epoch for name, total in training.totals.items()}
        training.ranks.require_equal(training.student.state_dict().values(), "weights")
        with training.average.applied(training.student):
            score = self.listener.evaluate()
            self._keep_if_best(number, score)
        row = Epoch(
            number,
            means.pop("loss"),
            means,
            training.settings.lr0 * self._rate(training.step - 1),
            score,
            training.oscillation.counts() if training.oscillation else {},
        )
        training.epochs.append(row)
        training.totals = {}
        self._save()
        return row

    def _keep_if_best(self, epoch: int, score: float) -> None:
        training = self.training
        if score > training.best_map50_95:
            training.best_epoch, training.best_map50_95 = epoch, score
            training.best = {name: value.detach().clone() for name, value in training.student.state_dict().items()}
            self.listener.keep(epoch)

    def _save(self) -> None:
        if self.file:
            checkpoint = self.training.checkpoint()
            records = {"path": self.path, "images": self.images}
            also = {name: record.tensors() for name, record in records.items() if record}
            self.file.write(Checkpoint({**checkpoint.tensors, **also}, checkpoint.record))
            self.saved_at = time.monotonic()

    def descent(self) -> Descent:
        """The record of the finished descent."""
        training = self.training
        return Descent(
            training.best_epoch,
            training.best_map50_95,
            training.epochs[-1].map50_95,
            training.start_map50_95,
            tuple(training.epochs),
            self.log.problem if self.log else "",
        )


def _nan_loss(value: float, step: int, steps: int, epoch: int, lr: float) -> NaNLossError:
    return NaNLossError(
        f"The loss or its gradient became {value} at step {step} of {steps} (epoch {epoch}), learning rate {lr:.3g}.",
        expected="a finite loss",
        mend="lower train.lr0 or train.grad_clip",
    )
