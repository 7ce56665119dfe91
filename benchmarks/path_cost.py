"""What recording the way of a descent, and the losses of its images, costs: processor time beside that of a step.

    python benchmarks/path_cost.py RUN_DIR [--rows 10]

RUN_DIR is a run folder that is calibrated. Of the images' losses (edgegd/descent/image_losses.py) it is what the label
loss of one batch of predictions takes longer when they are captured, and when each image is asked for alone.
Seconds are processor time, which other programs hardly change.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from edgegd.data.view import ultralytics_yaml
from edgegd.descent.path import PathRecord
from edgegd.descent.training import Training
from edgegd.detectors.batches import TrainingBatches, hyperparameters
from edgegd.detectors.families.image_losses import EachAlone
from edgegd.detectors.families.registry import family_of
from edgegd.detectors.losses import label_loss, predict, prepare_loss
from edgegd.pipeline.models import quantized_model
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stored import stored_dataset


def main() -> None:
    """Times steps and rows of one descent, in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--rows", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = RunFolder.open_existing(arguments.run_dir)
    student, dataset, settings = quantized_model(folder, "ptq"), stored_dataset(folder), folder.recipe.train
    prepare_loss(student.model, hyperparameters(settings, folder.recipe.model.size))
    training, record = Training(student, settings, None), PathRecord()
    record.begin(student.model, training.average, arguments.rows)
    student.train()
    steps, rows = [], []
    with tempfile.TemporaryDirectory() as view:
        data = ultralytics_yaml(dataset, Path(view))
        batch = next(iter(TrainingBatches(data, dataset.names, settings, folder.recipe.model.size).epoch(1)))
    for number in range(1, arguments.rows + 1):
        start = time.process_time()
        training.take_step(batch, 1.0, 0.0)
        middle = time.process_time()
        record.take(number)
        steps.append(middle - start)
        rows.append(time.process_time() - middle)
    step, row = statistics.median(steps), statistics.median(rows)
    print_image_losses(training, batch, step, arguments.rows)
    images, size = len(batch["img"]), folder.recipe.model.imgsz
    print(f"{images} images of {size} px: a step {step:.3f} s, a row {1000 * row:.2f} ms, {100 * row / step:.2f} %")


def print_image_losses(training: Training, batch: dict[str, Any], step: float, rounds: int) -> None:
    """Times one label loss with and without the losses of its images, in turn."""
    student, own = training.student, training.prepared(batch)
    predictions = predict(student, own)
    family = family_of(student.model)
    ways = {
        "not asked": lambda: None,
        "captured": lambda: family.image_losses(student.model),
        "each alone": lambda: EachAlone(family, student.model),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, make in ways.items():
            measured = make()
            start = time.process_time()
            label_loss(student, own, predictions)
            if measured:
                measured.of(own, predictions)
            seconds[name].append(time.process_time() - start)
            if measured:
                measured.close()
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name in ("captured", "each alone"):
        cost = medians[name] - medians["not asked"]
        print(f"losses of images, {name}: {1000 * cost:.1f} ms, {100 * cost / step:.2f} % of a step")


if __name__ == "__main__":
    main()
