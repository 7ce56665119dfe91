"""Does `edgegd descent lr-range` suggest the rate that a grid of short trainings finds? On streets and on BCCD.

    python benchmarks/lr_range.py --bccd-weights MY.pt --bccd-data MY/bccd [--streets-data DIR] [--imgsz 160]

Each set: the command's own test on the weights, with three seeds, and short trainings of the recipe at seven rates,
half decades apart, with up to three seeds. They are judged by the loss of the images on which epochs are compared: mAP
differs by less than its noise there. What is in benchmarks/results/lr_range.json is not measured again; seeds are
measured one after the other, so that a benchmark that is stopped has whole grids.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("YOLO_VERBOSE", "false")

import torch
from lr_range_table import HEADERS, rows
from result_file import ResultFile

from edgegd.cli.progress import TerminalProgress
from edgegd.descent.fine_tune import fine_tune
from edgegd.descent.held_out import mean_loss
from edgegd.descent.listener import Functions
from edgegd.descent.taken_back import taken_back
from edgegd.pipeline.descent_subject import DescentSubject, opened_subject
from edgegd.pipeline.lr_range import lr_range
from edgegd.pipeline.run import run_stages
from edgegd.pipeline.run_folder import RunFolder
from edgegd.recipe.load import load_recipe
from edgegd.report.table import table

SEEDS = (0, 1, 2)
FAST = ("quant.calibration_images=32", "quant.refine=none")


@dataclass(frozen=True)
class Case:
    """A recipe, epochs of a short training of it, and the rates of its grid: half decades."""

    recipe: str
    epochs: int
    rates: tuple[float, ...] = (3.2e-6, 1e-5, 3.2e-5, 1e-4, 3.2e-4, 1e-3, 3.2e-3)


CASES = {"streets": Case("streets/yolo26n", 2), "bccd": Case("bccd/yolo26n", 2)}


def folder_of(name: str, arguments: argparse.Namespace) -> RunFolder:
    """A run folder of a set with its calibrated model, made where it is not there yet."""
    overrides = [f"model.imgsz={arguments.imgsz}", *FAST]
    if name == "bccd":
        overrides += [f"model.weights={arguments.bccd_weights}", f"data.path={arguments.bccd_data}"]
    elif arguments.streets_data:
        overrides.append(f"data.path={arguments.streets_data}")
    recipe = CASES[name].recipe
    folder = RunFolder.create(arguments.work / f"{name}-{arguments.imgsz}", load_recipe(recipe, overrides), recipe)
    with TerminalProgress() as progress:
        run_stages(folder, ["data", "float", "ptq"], progress)
    return folder


def short_training(subject: DescentSubject, rate: float, seed: int, epochs: int) -> dict[str, Any]:
    """The recipe's training at one rate: the held-out loss of its averaged model, per image."""
    settings = replace(subject.settings, lr0=rate, seed=seed, epochs=epochs)
    held_out = subject.held_out_batches()
    losses = iter([0.0] * epochs)  # before the first epoch, and after every one but the last
    found: list[float] = []

    def evaluate() -> float:
        if next(losses, None) is None:
            found.append(mean_loss(subject.student, held_out, subject.settings, subject.distiller))
        return 0.0

    start = time.process_time()
    with taken_back(subject.student):
        fine_tune(subject.student, subject.training_batches(seed), settings, Functions(evaluate))
    return {"loss": found[-1], "cpu_s": round(time.process_time() - start, 1)}


def measure(name: str, seed: int, results: ResultFile, arguments: argparse.Namespace) -> None:
    """What is missing of a set: the range test and the loss at the start (with the first seed), trainings of a seed."""
    case, where = CASES[name], {"set": name, "imgsz": arguments.imgsz}
    folder = folder_of(name, arguments)
    if not found_in(results, {"kind": "range", **where}):
        begun = time.process_time()
        with TerminalProgress() as progress:
            tested = lr_range(folder, progress, groups=("weights",), seeds=len(SEEDS))
        results.add({"kind": "range", **where, **tested, "cpu_s": round(time.process_time() - begun, 1)})
    with opened_subject(folder) as subject:
        if not found_in(results, {"kind": "start", **where}):
            held_out = subject.held_out_batches()
            loss = mean_loss(subject.student, held_out, subject.settings, subject.distiller)
            results.add({"kind": "start", **where, "loss": loss, "images": len(held_out.loaded)})
        for rate in case.rates:
            key = {"kind": "training", **where, "rate": rate, "seed": seed, "epochs": case.epochs}
            if not found_in(results, key):
                results.add(key | short_training(subject, rate, seed, case.epochs))
                print(key, results.entries[-1]["loss"], file=sys.stderr, flush=True)


def found_in(results: ResultFile, key: dict[str, Any]) -> list[dict[str, Any]]:
    """The entries that have all of a key."""
    return [entry for entry in results.entries if key.items() <= entry.items()]


def options(text: str, imgsz: int) -> argparse.ArgumentParser:
    """The options of a benchmark of descents on these sets."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--sets", nargs="+", choices=list(CASES), default=list(CASES))
    option("--bccd-weights", default="")
    option("--bccd-data", default="datasets/bccd")
    option("--streets-data", default="")
    option("--imgsz", type=int, default=imgsz)
    option("--work", type=Path, default=Path("runs/descents"))
    option("--result", type=Path)
    return parser


def main() -> None:
    """Measures what is missing, a seed after the other, and prints a table."""
    arguments = options(__doc__ or "", imgsz=160).parse_args()
    torch.set_num_threads(1)
    results = ResultFile("lr_range", arguments.result)
    for seed in SEEDS:
        for name in arguments.sets:
            measure(name, seed, results, arguments)
    print(table(rows(results.entries), HEADERS))


if __name__ == "__main__":
    main()
