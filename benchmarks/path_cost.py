"""What recording the way of a descent costs (edgegd/descent/path.py): processor time of a row beside that of a step.

    python benchmarks/path_cost.py RUN_DIR [--rows 10]

RUN_DIR is a run folder that is calibrated. Seconds are processor time, which other programs hardly change.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from edgegd.data.view import ultralytics_yaml
from edgegd.descent.path import PathRecord
from edgegd.descent.training import Training
from edgegd.detectors.batches import TrainingBatches, hyperparameters
from edgegd.detectors.losses import prepare_loss
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
    images, size = len(batch["img"]), folder.recipe.model.imgsz
    print(f"{images} images of {size} px: a step {step:.3f} s, a row {1000 * row:.2f} ms, {100 * row / step:.2f} %")


if __name__ == "__main__":
    main()
