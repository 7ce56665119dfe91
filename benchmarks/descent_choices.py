"""Choices of the descent, measured: BatchNorm folded or simulated, weight scales tied or learned, ranges learned.

    python benchmarks/descent_choices.py --weights MY.pt --data MY/bccd [--only folded-tied --seeds 0,1]

Every choice is the recipe bccd/yolo26n with one change, trained through the same loop from the same calibrated model;
mAP is that of the fake-quantized model in torch, as everywhere in the descent. A run that is there is not run again.
Prints a table and writes benchmarks/results/descent_choices.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from simulated_batchnorm import simulate

from edgegd.accuracy.evaluate import score
from edgegd.cli.progress import TerminalProgress
from edgegd.data.view import ultralytics_yaml
from edgegd.descent.fine_tune import fine_tune
from edgegd.descent.listener import Functions
from edgegd.descent.random_state import seed_everything
from edgegd.detectors.batches import TrainingBatches, hyperparameters
from edgegd.detectors.float_checkpoint import open_checkpoint
from edgegd.detectors.losses import prepare_loss
from edgegd.device.fingerprint import fingerprint
from edgegd.pipeline.models import quantized_model, torch_detections
from edgegd.pipeline.run import run_stages
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stored import measured_truth, stored_dataset
from edgegd.quant.consistent_ranges import settle_ranges
from edgegd.recipe.load import load_recipe

RECIPE = "bccd/yolo26n"
RESULT = Path(__file__).parent / "results" / "descent_choices.json"
# name -> recipe overrides, and how BatchNorm is simulated
CHOICES: dict[str, tuple[list[str], str]] = {
    "folded, tied weight scales, ranges learned": ([], ""),
    "ranges fixed after calibration": (["train.range_lr=0"], ""),
    "weight scales learned": (["quant.weight_scales=learned"], ""),
    "BatchNorm simulated, statistics frozen": ([], "frozen"),
    "BatchNorm simulated, statistics live": ([], "live"),
}


def train(folder: RunFolder, simulated: str, progress: TerminalProgress) -> dict[str, Any]:
    """One training from the run's calibrated model: mAP50-95 by epoch (calibrated first) and seconds a step."""
    recipe, dataset, truth = folder.recipe, stored_dataset(folder), measured_truth(folder)
    settings, imgsz = recipe.train, recipe.model.imgsz
    quantized = quantized_model(folder, "ptq")
    model: Any = quantized.model
    if simulated:
        simulate(model, open_checkpoint(folder.artifact("float.pt")).float(), live=simulated == "live")
    seed_everything(settings.seed)
    prepare_loss(model, hyperparameters(settings, imgsz))
    moments: list[float] = []

    def evaluate() -> float:
        if simulated:
            quantized.update_ranges()
        settle_ranges(quantized)
        quantized.eval()
        with torch.no_grad():
            found = list(torch_detections(quantized, model, folder, truth.image_paths))
        return score(found, truth, max_det=recipe.accuracy.max_det).map50_95

    def tell(done: int, total: int, text: str) -> None:
        moments.append(time.perf_counter())
        progress.update(done, total, text)

    stream = TrainingBatches(ultralytics_yaml(dataset, folder.artifact("view")), dataset.names, settings, imgsz)
    descent = fine_tune(quantized, stream, settings, Functions(evaluate, on_step=tell))
    steps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    by_epoch = [epoch.map50_95 for epoch in descent.epochs]
    return {
        "calibrated": descent.start_map50_95,
        "by_epoch": by_epoch,
        "best": max(by_epoch),
        "last": by_epoch[-1],
        "step_s": statistics.median(steps),
    }


def main() -> None:
    """Runs what is missing, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/descent_choices"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", default="", help="choices whose name contains this")
    arguments = parser.parse_args()
    result: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"runs": {}}
    result["machine"], result["recipe"] = fingerprint(), RECIPE
    for seed in map(int, arguments.seeds.split(",")):
        for name in (name for name in CHOICES if arguments.only in name):
            if f"{name} / {seed}" in result["runs"]:
                continue
            overrides, simulated = CHOICES[name]
            overrides = [
                f"model.weights={arguments.weights}",
                f"data.path={arguments.data}",
                f"train.seed={seed}",
                *overrides,
            ]
            path = arguments.work / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
            folder = RunFolder.create(path, load_recipe(RECIPE, overrides), RECIPE)
            with TerminalProgress() as progress:
                run_stages(folder, ["data", "float", "ptq"], progress)
                result["runs"][f"{name} / {seed}"] = train(folder, simulated, progress)
            RESULT.write_text(json.dumps(result, indent=1) + "\n")
            print(name, seed, json.dumps(result["runs"][f"{name} / {seed}"]), flush=True)
    print(f"{'mAP50-95 under fake quantization':45s} seeds calibrated   best   last step s")
    for name in CHOICES:
        runs = [run for key, run in result["runs"].items() if key.startswith(f"{name} /")]
        if runs:
            means = [statistics.mean(run[key] for run in runs) for key in ("calibrated", "best", "last", "step_s")]
            print(
                f"{name:45s} {len(runs):5d} {100 * means[0]:10.1f} {100 * means[1]:6.1f} {100 * means[2]:6.1f} "
                f"{means[3]:6.2f}"
            )


if __name__ == "__main__":
    main()
