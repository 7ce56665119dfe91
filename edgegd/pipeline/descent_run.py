"""A descent as a stage runs it, float adaptation or QAT: progress, checkpoints and resuming, best epoch, record."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from edgegd.accuracy.evaluate import score
from edgegd.data.view import ultralytics_yaml
from edgegd.descent.checkpoint import Checkpoint, CheckpointFile
from edgegd.descent.fine_tune import fine_tune
from edgegd.descent.image_losses import ImageLossRecord, image_losses_bytes
from edgegd.descent.listener import Storage
from edgegd.descent.path import PathRecord, path_bytes
from edgegd.descent.random_state import seed_everything
from edgegd.descent.ranks import current_ranks
from edgegd.descent.record import Descent, Epoch
from edgegd.descent.synchronized_norm import has_live_norms
from edgegd.detectors.batches import TrainingBatches, hyperparameters
from edgegd.detectors.losses import prepare_loss
from edgegd.detectors.student import Student
from edgegd.errors import NaNLossError
from edgegd.pipeline.artifacts import ADAPTATION_STEPS, DATA
from edgegd.pipeline.as_recorded import require_as_recorded
from edgegd.pipeline.diagnosis import read_rows
from edgegd.pipeline.models import torch_detections
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.pipeline.stored import selection_truth, stored_dataset
from edgegd.progress import Progress
from edgegd.recipe.training import TrainSection
from edgegd.report.diagnosis.facts import Facts
from edgegd.report.diagnosis.live import Watch
from edgegd.report.words import percent
from edgegd.runtime.detector import Detections

# Of train: what a resumed training may change, and what is another training's (its result is in the identity).
_NO_INFLUENCE = (
    "device",
    "devices",
    "accumulate",
    "workers",
    "checkpoint_minutes",
    "probe_every",
    "control",
    "adapt",
)


@dataclass(frozen=True)
class DescentKind:
    """What tells one descent from another: the names of its artifacts, and words for its messages.

    `result`, `record` and `steps` are there when it is done; `last_good` (the best model so far) and `checkpoint` (from
    which a killed descent goes on) while it runs and after it failed. `start` names the model before the first step,
    `how` how it is evaluated, `rate` the recipe key of the learning rate. `path` takes the last weights and a sample of
    those on the way, `images` the losses of the training images; empty: nothing is recorded of it.
    """

    result: str
    record: str
    steps: str
    last_good: str
    checkpoint: str
    start: str
    how: str
    rate: str
    path: str = ""
    images: str = ""


def descend(
    folder: RunFolder,
    progress: Progress,
    student: Student,
    settings: TrainSection,
    kind: DescentKind,
    *,
    identity: Mapping[str, Any],
    keep: Callable[[], None],
    teacher: Callable[[], nn.Module],
    before_validation: Callable[[], object] | None = None,
) -> Descent:
    """Trains `student`, on `settings.device`, and writes `kind.result` (the best epoch's) and the others of `kind`.

    `keep()` stores the student as it is then as `kind.last_good`. `identity` is plain data on what else decides the
    result beside code, machine, settings and data set. `teacher()` makes the deployed float model that the student
    distils from, where the settings ask for it; `before_validation()` is called before each mAP.
    A killed training goes on from its checkpoint, unless something that decides its result has changed since: it then
    starts anew, and the old checkpoint is kept under another name.
    With several `current_ranks` all of them call this; each has its share of the batches and of the validation images,
    and the first alone writes. Raises TrainingCheckpointError for a checkpoint that cannot be read, NaNLossError,
    TrainingProcessError where another of the processes has ended.
    """
    recipe, dataset, ranks = folder.recipe, stored_dataset(folder), current_ranks()
    size = recipe.model.size
    if settings.accumulate > 1 and has_live_norms(student):  # which see each part by itself: another training
        identity = {**identity, "train.accumulate": settings.accumulate}
    file = CheckpointFile(
        folder.artifact(kind.checkpoint),
        {
            **identity,
            "model.imgsz": list(size),
            str(DATA): sha256_of(folder.artifact(DATA)),
            "train": {key: value for key, value in dataclasses.asdict(settings).items() if key not in _NO_INFLUENCE},
            "accuracy": dataclasses.asdict(recipe.accuracy),
        },
    )
    resume = _resumable(file, progress) if ranks.is_first else None
    seed_everything(settings.seed)
    prepare_loss(student.model, hyperparameters(settings, size))
    view = ranks.of_first(lambda: ultralytics_yaml(dataset, folder.artifact("view")))
    distils = settings.distill.asks
    batches = ranks.first_before_others(  # which read its cache of labels
        lambda: TrainingBatches(
            view, dataset.names, settings, size, dataset.channels, unlabelled=distils, share=ranks.share
        )
    )
    require_as_recorded(folder, "train", batches.loaded, unlabelled=distils)

    path = PathRecord() if kind.path and ranks.is_first else None
    images = ImageLossRecord(batches.files) if kind.images else None
    log = folder.artifact(kind.steps)
    start = Facts([], dataclasses.asdict(settings), len(batches.loaded), adaptation=kind.steps == ADAPTATION_STEPS)
    done = itertools.islice(read_rows(log), resume.record["step"]) if resume and log.exists() else ()
    watch = Watch(start, progress.note, done)
    listener = _StageListener(folder, progress, student, settings.epochs, kind, keep, before_validation, watch)
    try:
        descent = fine_tune(
            student,
            batches,
            settings,
            listener,
            teacher=teacher() if distils else None,
            storage=Storage(file, resume, log, path, images) if ranks.is_first else Storage(images=images),
            ranks=ranks,
        )
    except NaNLossError as error:
        kept = f"the best model so far is kept in {folder.artifact(kind.last_good)}"
        raise NaNLossError(
            error.what, expected=error.expected, found=error.found, mend=f"lower {kind.rate} or train.grad_clip; {kept}"
        ) from error
    if not ranks.is_first:
        return descent
    if descent.unrecorded:
        progress.note(f"the training goes on to its end, but {descent.unrecorded}")
    if path:
        folder.write(kind.path, path_bytes(student, path))
    if images:
        folder.write(kind.images, image_losses_bytes(images))
    folder.write(kind.result, folder.artifact(kind.last_good).read_bytes())
    folder.write_json(kind.record, dataclasses.asdict(descent))
    folder.artifact(kind.last_good).unlink()
    file.path.unlink()
    return descent


@dataclass(frozen=True)
class _StageListener:
    """Evaluates through the pre- and postprocessing of the accuracy stage, and shows progress."""

    folder: RunFolder
    progress: Progress
    student: Student
    epochs: int
    kind: DescentKind
    store: Callable[[], None]
    before_validation: Callable[[], object] | None
    watch: Watch

    def evaluate(self) -> float:
        """mAP50-95 of the student."""
        if self.before_validation:
            self.before_validation()
        self.student.eval()
        truth, detector, ranks = selection_truth(self.folder), self.student.model, current_ranks()
        number, shares = ranks.share
        own, total = truth.image_paths[number::shares], len(truth.image_paths)
        found: list[Detections] = []
        for detections in torch_detections(self.student, detector, self.folder, own):  # type: ignore[arg-type]
            found.append(detections)
            self.progress.update(min(len(found) * shares, total), total, f"mAP {self.kind.how}")
        of_shares = ranks.gather(found)

        def map50_95() -> float:
            in_order = [of_shares[index % shares][index // shares] for index in range(total)]
            return score(in_order, truth, max_det=self.folder.recipe.accuracy.max_det).map50_95

        return ranks.of_first(map50_95)

    def keep(self, epoch: int) -> None:
        """Stores the student as the best so far."""
        if current_ranks().is_first:
            self.store()

    def on_start(self, map50_95: float) -> None:
        """One line."""
        self.progress.note(f"{self.kind.start}, before the first step: mAP50-95 {percent(map50_95)} {self.kind.how}")

    def on_step(self, step: int, steps: int, text: str) -> None:
        """The bar."""
        self.progress.update(step, steps, text)

    def on_row(self, row: dict[str, Any]) -> None:
        """What the diagnosis is sure of."""
        self.watch.see(row)

    def on_epoch(self, row: Epoch) -> None:
        """One line per epoch."""
        self.progress.note(
            f"epoch {row.epoch}/{self.epochs}: loss {row.loss:.4f}, learning rate {row.lr:.2e}, "
            f"mAP50-95 {percent(row.map50_95)} {self.kind.how}"
        )


def on_own_device(settings: TrainSection) -> TrainSection:
    """The settings with the device of this process, one of `current_ranks`."""
    return dataclasses.replace(settings, device=current_ranks().device(settings.device))


def _resumable(file: CheckpointFile, progress: Progress) -> Checkpoint | None:
    checkpoint, changes = file.read()
    if checkpoint is None:
        return None
    if changes:
        aside = file.set_aside()
        progress.note(
            f"training starts anew, its checkpoint (kept as {aside.name}) is of other inputs: {', '.join(changes)}"
        )
        return None
    progress.note(f"going on after step {checkpoint.record['step']} of an interrupted training")
    return checkpoint
