"""Choices of the descent, measured: what is trained, how far a step goes, and what the loss asks for.

    python benchmarks/descent_choices.py bccd --weights MY.pt --data MY/bccd [--only tied --seeds 0 1]
    python benchmarks/descent_choices.py coco-yolo11n --weights MY.pt --data coco128.yaml

Every choice is the set's recipe, at a rate of 1e-4, with one change, trained through the same loop from the same
calibrated and refined model; mAP is that of the fake-quantized model in torch, as everywhere in the descent, with the
paired difference of the best and the last epoch to the model before the first step (bootstrap over images). `float`
takes the same steps without quantization. Runs are kept in benchmarks/results/descent_choices.json; one that is there
is not run again.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from doc_tables import descent_choices_table
from peers.comparison_sets import SETS
from result_file import ROOT, ResultFile
from simulated_batchnorm import simulate

from edgegd.accuracy.bootstrap import compare
from edgegd.accuracy.evaluate import AccuracyResult, score
from edgegd.cli.progress import TerminalProgress
from edgegd.data.view import ultralytics_yaml
from edgegd.descent import training
from edgegd.descent.fine_tune import fine_tune
from edgegd.descent.listener import Functions
from edgegd.descent.optimizers import parameter_groups
from edgegd.descent.random_state import seed_everything
from edgegd.detectors.batches import TrainingBatches, hyperparameters
from edgegd.detectors.float_checkpoint import open_checkpoint
from edgegd.detectors.losses import prepare_loss
from edgegd.detectors.student import FloatStudent
from edgegd.pipeline.models import float_model, quantized_model, torch_detections
from edgegd.pipeline.run import run_stages
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stored import measured_truth, stored_dataset
from edgegd.plan.profiles import INTEGER
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.consistent_ranges import settle_ranges
from edgegd.recipe.load import load_recipe
from edgegd.recipe.training import TrainSection


@dataclass(frozen=True)
class Choice:
    """One change of the recipe: overrides, and what no override says.

    `first` are the overrides of a training that goes before, `simulated` how BatchNorm is simulated, `relative` that
    lr0 is a fraction of each layer's mean quantization step, `on_codes` that weights begin on their codes, whose scales
    are kept, as refined weights of 7 bits do, `is_float` that nothing is quantized.
    """

    overrides: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    simulated: str = ""
    relative: bool = False
    on_codes: bool = False
    is_float: bool = False


_ALONE = ("train.lr0=0", "train.bias_lr=0", "train.freeze_ranges_epochs=0")
_UNLABELLED = ("train.distill.head=1", "train.distill.labels=false")
CHOICES = {
    "AdamW, 1e-4": Choice(),
    "float": Choice(is_float=True),
    "not refined": Choice(("quant.refine=none",)),
    "weights start on their codes": Choice(on_codes=True),
    "weights fixed, biases and ranges learn": Choice(("train.lr0=0", "train.bias_lr=1e-4")),
    "ranges fixed": Choice(("train.range_lr=0",)),
    "ranges alone": Choice(_ALONE),
    "ranges first, one epoch": Choice(("train.epochs=2",), first=(*_ALONE, "train.epochs=1")),
    "AdamW, 2e-5": Choice(("train.lr0=2e-5",)),
    "AdamW, 5e-4": Choice(("train.lr0=5e-4",)),
    "steps of 1 % of the layer's grid": Choice(("train.lr0=0.01", "train.bias_lr=1e-4"), relative=True),
    "SGD with momentum, 1e-3": Choice(("train.optimizer=SGD", "train.lr0=1e-3")),
    "SGD with momentum, 1e-4": Choice(("train.optimizer=SGD",)),
    "MuSGD": Choice(("train.optimizer=MuSGD",)),
    "without momentum's warm-up": Choice(("train.warmup_epochs=0",)),
    "no moving average": Choice(("train.ema_decay=0",)),
    "labels, and the float model's head": Choice(("train.distill.head=1",)),
    "the float model's head, no labels": Choice(_UNLABELLED),
    "the float model's head and neck, no labels": Choice((*_UNLABELLED, "train.distill.neck=1")),
    "weight scales learned": Choice(("quant.weight_scales=learned",)),
    "BatchNorm simulated, statistics frozen": Choice(simulated="frozen"),
    "BatchNorm simulated, statistics live": Choice(simulated="live"),
}


def relative_optimizer(student: Any, settings: TrainSection) -> torch.optim.Optimizer:
    """AdamW with a group for each integer layer's weights, whose rate is lr0 times the layer's mean scale."""
    groups = parameter_groups(student, settings)
    layers, taken = [], set()
    for op in student.plan.ops:
        if op.weight and op.decision == INTEGER:
            weight = student.model.get_submodule(op.weight).weight
            if weight.requires_grad and id(weight) not in taken:
                rate = settings.lr0 * float(student.weight_quantizer(op).scale.mean())
                taken.add(id(weight))
                layers.append({"name": "weights", "params": [weight], "lr": rate, "peak_lr": rate, "weight_decay": 0.0})
    groups[0]["params"] = [p for p in groups[0]["params"] if id(p) not in taken]
    groups[0]["lr"] = groups[0]["peak_lr"] = settings.bias_lr or settings.lr0  # the few layers that stay float
    return torch.optim.AdamW([*groups, *layers], betas=(settings.momentum, 0.999), fused=True)


@torch.no_grad()
def start_on_codes(quantized: QuantizedModel) -> None:
    """Moves every integer layer's weights to the values of their codes, and keeps their scales."""
    for op in quantized.plan.ops:
        if op.weight and op.decision == INTEGER:
            module, quantizer = quantized.model.get_submodule(op.weight), quantized.weight_quantizer(op)
            source = quantized.range_of(quantized.plan.groups[op.inputs[0]])
            module.weight.copy_(quantizer(module.weight))
            quantizer.keep(quantizer.scale, module.bias, source.scale)


class Run:
    """One training of one choice, from the calibrated model in a run folder."""

    def __init__(self, folder: RunFolder, choice: Choice, progress: TerminalProgress) -> None:
        self.folder, self.choice, self.progress = folder, choice, progress
        self.truth = measured_truth(folder)
        self.found: list[AccuracyResult] = []
        self.student: Any = FloatStudent(float_model(folder)) if choice.is_float else quantized_model(folder, "ptq")
        if choice.on_codes:
            start_on_codes(self.student)
        if choice.simulated:
            raw = open_checkpoint(folder.artifact("float.pt")).float()
            simulate(self.student.model, raw, live=choice.simulated == "live")

    def evaluate(self) -> float:
        """mAP50-95 of the student as it is now."""
        if self.choice.simulated:
            self.student.update_ranges()
        if not self.choice.is_float:
            settle_ranges(self.student)
        self.student.eval()
        images = self.truth.image_paths
        found = list(torch_detections(self.student, self.student.model, self.folder, images))
        self.found.append(score(found, self.truth, max_det=self.folder.recipe.accuracy.max_det))
        return self.found[-1].map50_95

    def train(self, settings: TrainSection) -> None:
        """One training; what it evaluates is `found`, but the start of a second one."""
        model, imgsz, dataset = self.student.model, self.folder.recipe.model.imgsz, stored_dataset(self.folder)
        seed_everything(settings.seed)
        prepare_loss(model, hyperparameters(settings, imgsz))
        teacher = float_model(self.folder) if settings.distill.asks else None
        view = ultralytics_yaml(dataset, self.folder.artifact("view"))
        stream = TrainingBatches(view, dataset.names, settings, imgsz)
        before, make = len(self.found), relative_optimizer if self.choice.relative else training.make_optimizer
        with patch.object(training, "make_optimizer", make):
            listener = Functions(self.evaluate, on_step=self.progress.update)
            fine_tune(self.student, stream, settings, listener, teacher=teacher)
        if before:
            del self.found[before]

    def measured(self) -> dict[str, Any]:
        """The entry of all trainings so far: their evaluations but those of their own starts."""
        start, epochs = self.found[0], self.found[1:]
        best = max(epochs, key=lambda found: found.map50_95)
        entry: dict[str, Any] = {"calibrated": start.map50_95, "by_epoch": [found.map50_95 for found in epochs]}
        for name, found in (("best", best), ("last", epochs[-1])):
            pair = compare({"own": found.matches, "start": start.matches}, [("own", "start")])
            change = pair.differences["own", "start"]["map50_95"]
            entry |= {name: found.map50_95, f"{name}_difference": [change.value, change.low, change.high]}
        return entry


def run(name: str, weights: str, data: str, seed: int, choice: Choice, work: Path) -> dict[str, Any]:
    """Trains one choice; choices that share data and calibration share their run folder up to there."""
    base = [f"model.weights={weights}", f"data.path={data}", f"train.seed={seed}", "train.lr0=1e-4"]
    calibrated = [*base, *(one for one in choice.overrides if one.startswith("quant."))]
    key = hashlib.sha256(repr((name, *calibrated)).encode()).hexdigest()[:12]
    path, recipe = work / key, SETS[name].recipe
    is_there = path.exists()
    folder = (
        RunFolder.open_existing(path) if is_there else RunFolder.create(path, load_recipe(recipe, calibrated), recipe)
    )
    started = time.perf_counter()
    with TerminalProgress() as progress:
        run_stages(folder, ["data", "float", "ptq"], progress)
        one = Run(folder, choice, progress)
        for overrides in [choice.first, choice.overrides] if choice.first else [choice.overrides]:
            one.train(load_recipe(recipe, [*base, *overrides]).train)
    return one.measured() | {"seconds": round(time.perf_counter() - started, 1)}


def main() -> None:
    """Runs what is missing, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=SETS)
    parser.add_argument("--weights")
    parser.add_argument("--data")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/descent_choices")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="*", default=[""], help="choices whose names contain one of these")
    arguments = parser.parse_args()
    of, results = SETS[arguments.set], ResultFile("descent_choices")
    weights, data = arguments.weights or str(of.weights), arguments.data or str(of.data)
    for seed in arguments.seeds:
        for name, choice in CHOICES.items():
            key = {"set": of.name, "choice": name, "seed": seed}
            if any(part in name for part in arguments.only) and not results.find(**key):
                results.add(key | run(of.name, weights, data, seed, choice, arguments.work))
                print(*(f"{key} {value}" for key, value in results.entries[-1].items() if key != "machine"), flush=True)
    print(descent_choices_table())


if __name__ == "__main__":
    main()
