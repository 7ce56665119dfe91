"""The small descents that docs/descent.md tells of: rates, batches, optimizers, ranges and codes, validation.

    python benchmarks/descent_runs.py [--only rates] [--work runs/descent]

Each is the recipe streets/yolo26n at 128 px on few images, with the overrides of BASE and of its own, trained by the
project's own loop from one calibrated model. Writes benchmarks/results/descent/NAME.json, a file a question; a run that
is in it is not run again. All of them take about five minutes on one core. benchmarks/descent_pictures.py draws them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from result_file import ResultFile

from edgegd.accuracy.evaluate import score
from edgegd.cli.progress import TerminalProgress
from edgegd.data.view import ultralytics_yaml
from edgegd.descent.fine_tune import fine_tune
from edgegd.descent.listener import Functions, Storage
from edgegd.descent.path import PathRecord, filters_of, weight_sample
from edgegd.descent.random_state import seed_everything
from edgegd.descent.telemetry import untouched
from edgegd.detectors.batches import TrainingBatches, hyperparameters
from edgegd.detectors.losses import label_loss, predict, prepare_loss
from edgegd.errors import NaNLossError
from edgegd.pipeline.models import quantized_model, torch_detections
from edgegd.pipeline.run import run_stages
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stored import measured_truth, stored_dataset
from edgegd.quant.consistent_ranges import settle_ranges
from edgegd.recipe.load import load_recipe

RECIPE = "streets/yolo26n"
BASE = [
    "model.imgsz=128",
    "data.train_images=16",
    "data.val_images=60",
    "quant.refine=none",
    "train.batch=8",
    "train.warmup_epochs=0",
    "train.lrf=1",
    "train.probe_every=0",
    *(f"train.{name}=0" for name in ("fliplr", "scale", "translate", "hsv_h", "hsv_s", "hsv_v")),
]
"""Sixteen images without augmentation: every epoch sees the same pixels, so that losses of epochs can be compared."""

RATES = (1e-5, 1e-4, 1e-3, 1e-2)
RUNS: dict[str, dict[str, dict[str, Any]]] = {
    "optimizers": {
        f"{name} {rate:g}": {**settings, "lr0": rate, "epochs": 12}
        for name, settings in {
            "AdamW": {"optimizer": "AdamW"},
            "SGD, momentum 0.9": {"optimizer": "SGD"},
        }.items()
        for rate in RATES
    },
    "batches": {
        f"{batch} image{'s' if batch > 1 else ''}": {
            "optimizer": "SGD",
            "momentum": 0.0,
            "lr0": 1e-3,
            "epochs": 12,
            "batch": batch,
        }
        for batch in (16, 4, 1)
    },
    "ranges": {"AdamW": {"lr0": 1e-4, "epochs": 16, "probe_every": 1, "oscillation": "track"}},
    "validation": {"AdamW": {"lr0": 3e-4, "epochs": 30}},
}


class Run:
    """One descent in a run folder that is calibrated; `result` is what its JSON keeps."""

    def __init__(self, folder: RunFolder, overrides: dict[str, Any], scratch: Path) -> None:
        self.folder, self.scratch = folder, scratch
        self.settings = dataclasses.replace(folder.recipe.train, **overrides)
        self.dataset = stored_dataset(folder)
        self.student = quantized_model(folder, "ptq")
        seed_everything(self.settings.seed)
        prepare_loss(self.student.model, hyperparameters(self.settings, folder.recipe.model.size))
        self.path, self.log = PathRecord(), scratch / "steps.jsonl"
        self.log.unlink(missing_ok=True)
        self.validated: list[dict[str, float]] = []
        self.oscillation: dict[str, dict[str, int]] = {}

    def batches(self, split: str, **settings: Any) -> TrainingBatches:
        """Batches of the training images, or of the validation images as they are."""
        dataset = self.dataset
        if split == "val":
            dataset = dataclasses.replace(dataset, train_images=dataset.val_images)
        view = ultralytics_yaml(dataset, self.scratch / split)
        settings_ = dataclasses.replace(self.settings, **settings)
        return TrainingBatches(view, dataset.names, settings_, self.folder.recipe.model.size, dataset.channels)

    def validate(self) -> float:
        """mAP50-95 of the validation images, and their mean loss as the training has it."""
        losses = []
        batches = self.batches("val", batch=20)
        with untouched(self.student), torch.no_grad():
            self.student.train()
            for batch in batches.epoch(1):
                batch["img"] = batch["img"].float() / 255
                losses.append(float(label_loss(self.student, batch, predict(self.student, batch))[0]))
        settle_ranges(self.student)
        self.student.eval()
        truth = measured_truth(self.folder)
        found = list(torch_detections(self.student, self.student.model, self.folder, truth.image_paths))
        map50_95 = score(found, truth, max_det=self.folder.recipe.accuracy.max_det).map50_95
        self.validated.append({"loss": sum(losses) / len(losses), "map50_95": map50_95})
        return map50_95

    def descend(self, *, validated: bool) -> list[dict[str, Any]]:
        """The rows of telemetry; those before the loss was no longer finite where it came to that."""
        evaluate = self.validate if validated else lambda: 0.0
        storage = Storage(log=self.log, path=self.path)
        try:
            batches, listener = self.batches("train"), Functions(evaluate)
            descent = fine_tune(self.student, batches, self.settings, listener, storage=storage)
            self.oscillation = descent.epochs[-1].oscillation
        except NaNLossError as error:
            print(error.what)
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def basic(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What all runs keep: the loss of every step, and the gradient's norm by group as a median."""
    groups = rows[0]["gradient"]
    middle = {name: sorted(row["gradient"].get(name, 0.0) for row in rows)[len(rows) // 2] for name in groups}
    return {
        "loss": [round(row["loss"], 4) for row in rows],
        "epoch": [row["epoch"] for row in rows],
        "gradient": {name: float(f"{value:.3g}") for name, value in middle.items()},
        "step_s": round(sorted(sum(row["seconds"].values()) for row in rows)[len(rows) // 2], 3),
    }


def of_ranges(run: Run, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The ranges that moved most, the shares of codes that changed, and a weight that swings between two codes."""
    details = [row["detail"] for row in rows]
    scales = {group: [detail["ranges"][group]["scale"] for detail in details] for group in details[0]["ranges"]}
    moved = sorted(scales, key=lambda group: -abs(scales[group][-1] / scales[group][0] - 1))
    changed = [sum(detail["codes_changed"].values()) / len(detail["codes_changed"]) for detail in details]
    return {
        "scales": {group: [float(f"{v / scales[group][0]:.6g}") for v in scales[group]] for group in moved[:6]},
        "moved": [float(f"{abs(scales[group][-1] / scales[group][0] - 1):.4g}") for group in moved],
        "codes_changed": [float(f"{share:.4g}") for share in changed],
        "swinging": swinging(run),
        "oscillation": run_oscillation(run),
    }


def swinging(run: Run) -> dict[str, Any]:
    """Of the sampled weights, the one that changed its code most often: its value over its scale, by step."""
    student, sample = run.student, weight_sample(filters_of(run.student.model))
    path = torch.stack(run.path.weights)  # (R, n)
    student.update_ranges()
    place, best = 0, (0, "", None)
    tied = {op.weight: student.weight_quantizer(op) for op in student._integer_convolutions}
    for name, chosen in sample.positions.items():
        values, layer = path[:, place : place + len(chosen)], name.rpartition(".")[0]
        place += len(chosen)
        if layer not in tied:
            continue
        weight = student.model.get_parameter(name)
        filters = chosen // weight[0].numel()
        codes = values / tied[layer].scale[filters]
        flips = (codes.round()[1:] != codes.round()[:-1]).sum(0)
        # A weight that goes on is no swing: it must return.
        flips[(codes.round().amax(0) - codes.round().amin(0)) != 1] = 0
        most = int(flips.argmax())
        if int(flips[most]) > best[0]:
            best = (int(flips[most]), name, codes[:, most])
    return {"weight": best[1], "flips": best[0], "codes": [round(float(code), 4) for code in best[2]]}


def run_oscillation(run: Run) -> dict[str, int]:
    """The last epoch's counts over all layers."""
    total: dict[str, int] = {}
    for counts in run.oscillation.values():
        for name, count in counts.items():
            total[name] = total.get(name, 0) + count
    return total


def main() -> None:
    """Runs what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/descent"))
    parser.add_argument("--only", choices=RUNS)
    arguments = parser.parse_args()
    recipe = load_recipe(RECIPE, [*BASE, f"data.path={arguments.work / 'streets'}"])
    folder = RunFolder.create(arguments.work / "calibrated", recipe, RECIPE)
    with TerminalProgress() as progress:
        run_stages(folder, ["data", "float", "ptq"], progress)
    for question in [arguments.only] if arguments.only else RUNS:
        results = ResultFile(f"descent/{question}")
        for name, overrides in RUNS[question].items():
            if results.find(run=name):
                continue
            start = time.process_time()
            with tempfile.TemporaryDirectory() as scratch:
                run = Run(folder, overrides, Path(scratch))
                rows = run.descend(validated=question == "validation")
            entry = {"run": name, "recipe": RECIPE, "overrides": BASE, "settings": overrides, **basic(rows)}
            if question == "ranges":
                entry |= of_ranges(run, rows)
            if run.validated:
                entry["validated"] = run.validated
            results.add(entry | {"cpu_s": round(time.process_time() - start, 1)})
            print(f"{question}: {name}: {entry['loss'][0]:.3f} -> {entry['loss'][-1]:.3f}", flush=True)


if __name__ == "__main__":
    main()
