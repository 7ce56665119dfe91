"""A run's descent before its first step, opened to try something on it: nothing of the run folder is changed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from edgegd.accuracy.evaluate import score
from edgegd.data.dataset import Dataset
from edgegd.data.view import ultralytics_yaml
from edgegd.descent.device import require_device
from edgegd.descent.random_state import capture_random_state, restore_random_state, seed_everything
from edgegd.detectors.batches import TrainingBatches, hyperparameters
from edgegd.detectors.distillation import Distiller
from edgegd.detectors.losses import prepare_loss
from edgegd.detectors.student import Student
from edgegd.pipeline.artifacts import DATA, FLOAT_MODEL, PLAN, PTQ_STATE
from edgegd.pipeline.as_recorded import require_as_recorded
from edgegd.pipeline.models import float_model, quantized_model, torch_detections
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stage import require_current
from edgegd.pipeline.stored import adapted_reads, selection_truth, stored_dataset
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.consistent_ranges import settle_ranges
from edgegd.recipe.training import TrainSection


@dataclass(frozen=True)
class DescentSubject:
    """The calibrated model of a run with its loss, the run's settings, and where its batches come from.

    `views` is a temporary folder: Ultralytics' caches of labels lie there. `distiller` is there where the settings ask.
    """

    folder: RunFolder
    student: Student
    settings: TrainSection
    distiller: Distiller | None
    views: Path

    def training_batches(self, seed: int, batch: int | None = None) -> TrainingBatches:
        """The batches of a training with this seed; of `batch` images, or as many as the recipe says.

        Image by image their order and augmentation are the seed's, whatever the size of a batch.
        """
        settings = replace(self.settings, seed=seed, batch=batch or self.settings.batch, workers=0)
        batches = self._batches(stored_dataset(self.folder), settings, "train", unlabelled=settings.distill.asks)
        require_as_recorded(
            self.folder, "train", batches.loaded, unlabelled=settings.distill.asks, view=self.views / "train"
        )
        return batches

    def training_images(self) -> int:
        """How many images an epoch has."""
        dataset = stored_dataset(self.folder)
        return len(dataset.train_images) + (len(dataset.unlabelled_images) if self.settings.distill.asks else 0)

    def held_out_batches(self) -> TrainingBatches:
        """The images on which epochs are compared, as they are, in batches of the recipe's size."""
        dataset = stored_dataset(self.folder)
        chosen = replace(dataset, train_images=dataset.selection_images, unlabelled_images=())
        settings = replace(self.settings, workers=0, mosaic=0.0, fliplr=0.0, scale=0.0, translate=0.0)
        plain = replace(settings, hsv_h=0.0, hsv_s=0.0, hsv_v=0.0)
        return self._batches(chosen, plain, "held-out", unlabelled=False)

    def _batches(self, dataset: Dataset, settings: TrainSection, name: str, *, unlabelled: bool) -> TrainingBatches:
        view = ultralytics_yaml(dataset, self.views / name)
        size = self.folder.recipe.model.size
        return TrainingBatches(view, dataset.names, settings, size, dataset.channels, unlabelled=unlabelled)

    def map50_95(self) -> float:
        """mAP50-95 of the student as it is now, as the run's own descent measures it; it is in evaluation mode then."""
        if isinstance(self.student, QuantizedModel):
            settle_ranges(self.student)
        self.student.eval()
        truth = selection_truth(self.folder)
        found = list(torch_detections(self.student, self.student.model, self.folder, truth.image_paths))
        return score(found, truth, max_det=self.folder.recipe.accuracy.max_det).map50_95


@contextmanager
def opened_subject(folder: RunFolder) -> Iterator[DescentSubject]:
    """The descent of a run whose stage `ptq` is done, whatever was done after it.

    Raises MissingArtifactError where calibration is missing, damaged or out of date, TrainingDeviceError, and the
    errors of quantized_model.
    """
    settings = folder.recipe.train
    require_device(settings.device)
    for artifact in (DATA, FLOAT_MODEL, PLAN, PTQ_STATE, *adapted_reads(folder)):
        require_current(folder, artifact)
    student = quantized_model(folder, "ptq").to(settings.device)
    prepare_loss(student.model, hyperparameters(settings, folder.recipe.model.size))
    with ExitStack() as stack:
        stack.callback(restore_random_state, *capture_random_state())
        seed_everything(settings.seed)
        views = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgegd-")))
        distiller = None
        if settings.distill.asks:
            teacher = float_model(folder).to(settings.device)
            distiller = stack.enter_context(Distiller(teacher, student, settings.distill))
        yield DescentSubject(folder, student, settings, distiller, views)
