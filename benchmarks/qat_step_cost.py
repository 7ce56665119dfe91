"""One training step under fake quantization against the float step that Ultralytics takes, and where the rest goes.

    OMP_NUM_THREADS=1 python benchmarks/qat_step_cost.py [--device cuda] [--pairs 20]

A step is what edgegd's training does with a batch (descent/training.py): forward, loss, backward, clipping, optimizer
and moving average, in float32. The float side goes through the same code with Ultralytics' DetectionModel as
Ultralytics trains it, with live BatchNorm; the quantized side is the same checkpoint, folded, planned and calibrated.
Both have the same augmented batches, loss and optimizer. Steps alternate in one process, so that a busy moment meets
both; the interval of the ratio is a bootstrap over the pairs. Writes benchmarks/results/qat_step_cost_DEVICE.json.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tabulate import tabulate
from torch.profiler import ProfilerActivity, profile

from edgegd.data.dataset import open_dataset
from edgegd.data.view import ultralytics_yaml
from edgegd.descent.training import Training
from edgegd.detectors.batches import TrainingBatches, hyperparameters
from edgegd.detectors.deployment import deploy, plan_detector
from edgegd.detectors.float_checkpoint import open_checkpoint
from edgegd.detectors.losses import prepare_loss
from edgegd.detectors.student import FloatStudent, Student
from edgegd.device.fingerprint import fingerprint
from edgegd.device.profile import this_machine
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate
from edgegd.recipe.load import load_recipe
from edgegd.recipe.paths import resolve_path
from edgegd.recipe.schema import Recipe

RESULTS = Path(__file__).parent / "results"
RECIPE = "streets/yolo26n"
WARMUP, PROFILED, TOP, BATCHES = 3, 3, 15, 4
Step = Callable[[dict[str, Any]], None]


def draw_batches(recipe: Recipe, folder: Path) -> list[dict[str, Any]]:
    """Augmented batches of generated scenes on the recipe's device, as TrainingBatches makes them."""
    dataset = open_dataset(recipe.data)
    view = ultralytics_yaml(dataset, folder / "view")
    stream = TrainingBatches(view, dataset.names, recipe.train, recipe.model.imgsz).epoch(1)
    device = recipe.train.device
    return [
        {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in batch.items()}
        for batch in stream
    ]


def stepper(student: Student, recipe: Recipe) -> Step:
    """A function that takes one training step of `student` at the recipe's peak learning rates."""
    student.to(recipe.train.device)
    prepare_loss(student.model, hyperparameters(recipe.train, recipe.model.imgsz))
    training = Training(student, recipe.train, None)
    student.train()

    def step(batch: dict[str, Any]) -> None:
        training.take_step(batch, 1.0, 0.0)

    return step


def steppers(recipe: Recipe, batches: list[dict[str, Any]]) -> dict[str, Step]:
    """The float and the quantized step of the recipe's checkpoint."""
    float_model: Any = open_checkpoint(resolve_path(recipe.model.weights)).float().requires_grad_(True)
    deployed = deploy(copy.deepcopy(float_model))
    plan = plan_detector(deployed, recipe.model.imgsz, this_machine().profile)
    learned = recipe.quant.weight_scales == "learned"
    quantized = QuantizedModel(deployed, plan, learned_weight_scales=learned).to(recipe.train.device)
    calibrate(quantized, [batches[0]["img"].float() / 255], recipe.quant.observer)
    return {"float": stepper(FloatStudent(float_model), recipe), "qat": stepper(quantized, recipe)}


def milliseconds(step: Step, batch: dict[str, Any], device: str) -> float:
    """Duration of one step; on a GPU until it is idle again."""
    is_cuda = device.startswith("cuda")
    if is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    step(batch)
    if is_cuda:
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - start)


def time_pairs(
    steps: dict[str, Step], batches: list[dict[str, Any]], pairs: int, device: str
) -> dict[str, list[float]]:
    """Milliseconds of `pairs` steps of each side, alternating; who goes first alternates too."""
    durations: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(-WARMUP, pairs):
        batch = batches[number % len(batches)]
        for name in list(steps)[:: 1 if number % 2 else -1]:
            elapsed_ms = milliseconds(steps[name], batch, device)
            if number >= 0:
                durations[name].append(elapsed_ms)
    return durations


def ratio_interval(durations: dict[str, list[float]]) -> dict[str, float]:
    """Ratio of the medians (QAT over float) and its 95 % interval: 10,000 bootstrap draws of the pairs."""
    table = np.array([durations["qat"], durations["float"]])  # (2, pairs)
    drawn = np.random.default_rng(0).integers(table.shape[1], size=(10_000, table.shape[1]))
    medians = np.median(table[:, drawn], axis=2)  # (2, pairs) -> (2, 10000, pairs) -> (2, 10000)
    low, high = np.percentile(medians[0] / medians[1], [2.5, 97.5])
    ratio = float(np.median(table[0]) / np.median(table[1]))
    return {"ratio": ratio, "low": float(low), "high": float(high)}


def where_time_goes(step: Step, batches: list[dict[str, Any]], device: str) -> list[dict[str, Any]]:
    """The operations with the most time of their own, in ms a step, by torch.profiler (which slows the step)."""
    is_cuda = device.startswith("cuda")
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if is_cuda else [])
    with profile(activities=activities) as profiler:
        for number in range(PROFILED):
            step(batches[number % len(batches)])
    key = "self_device_time_total" if is_cuda else "self_cpu_time_total"
    events = sorted(profiler.key_averages(), key=lambda event: -getattr(event, key))
    return [
        {"op": event.key, "ms": getattr(event, key) / 1000 / PROFILED, "calls": event.count / PROFILED}
        for event in events[:TOP]
    ]


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--pairs", type=int, default=20, help="timed steps of each side")
    parser.add_argument("--batch", type=int, default=16, help="images a step")
    parser.add_argument("--imgsz", type=int, default=320, help="side of the images in pixels")
    return parser.parse_args()


def main() -> None:
    """Measures, prints and writes."""
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        overrides = [
            f"data.path={folder}/set",
            f"data.train_images={BATCHES * arguments.batch}",
            "data.val_images=1",
            f"train.device={arguments.device}",
            f"train.batch={arguments.batch}",
            f"model.imgsz={arguments.imgsz}",
        ]
        recipe = load_recipe(RECIPE, overrides)
        batches = draw_batches(recipe, Path(folder))
    steps = steppers(recipe, batches)
    durations = time_pairs(steps, batches, arguments.pairs, arguments.device)
    interval = ratio_interval(durations)
    operations = {name: where_time_goes(step, batches, arguments.device) for name, step in steps.items()}
    medians = {name: statistics.median(values) for name, values in durations.items()}
    machine: dict[str, Any] = fingerprint()
    if arguments.device.startswith("cuda"):
        machine["gpu"] = torch.cuda.get_device_name(arguments.device)
    print(
        f"{machine.get('gpu') or machine['cpu']}, torch {torch.__version__}, {torch.get_num_threads()} CPU threads, "
        f"batch {arguments.batch}, {arguments.imgsz} px, {arguments.pairs} pairs"
    )
    print(
        f"float {medians['float']:.1f} ms, QAT {medians['qat']:.1f} ms: "
        f"{interval['ratio']:.3f} times [{interval['low']:.3f}, {interval['high']:.3f}]"
    )
    for name, rows in operations.items():
        lines = [[row["op"][:60], f"{row['ms']:.1f}", f"{row['calls']:.0f}"] for row in rows]
        print(f"\n{tabulate(lines, [f'{name}: op', 'own ms a step', 'calls'], disable_numparse=True)}")
    date = datetime.now(timezone.utc).date().isoformat()
    result = {
        "schema": 1,
        "date": date,
        "machine": machine,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "settings": vars(arguments),
        "median_ms": medians,
        "qat_over_float": interval,
        "durations_ms": durations,
        "operations": operations,
    }
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"qat_step_cost_{torch.device(arguments.device).type}.json"
    file.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
