"""Does `edgegd descent lr-range` suggest the rate that a grid of short trainings finds? On streets and on BCCD.

    python benchmarks/lr_range.py --bccd-weights MY.pt --bccd-data MY/bccd [--streets-data DIR] [--imgsz 160]

Each set: the command's own test on the weights, with three seeds, and trainings of the recipe at seven rates (half
decades around the recipe's), with three seeds each. Trainings are short (--epochs) and judged by the loss, and the mAP,
of the images on which epochs are compared. What is in benchmarks/results/lr_range.json is not measured again.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from result_file import ResultFile

from edgegd.cli.progress import TerminalProgress
from edgegd.descent.fine_tune import fine_tune
from edgegd.descent.held_out import mean_loss
from edgegd.descent.listener import Functions
from edgegd.descent.taken_back import taken_back
from edgegd.pipeline.descent_subject import DescentSubject, opened_subject
from edgegd.pipeline.run import run_stages
from edgegd.pipeline.run_folder import RunFolder
from edgegd.recipe.load import load_recipe

SEEDS = (0, 1, 2)
FAST = ("quant.calibration_images=32", "quant.refine=none")


@dataclass(frozen=True)
class Case:
    """A recipe, epochs of a short training of it, and the rates of its grid: half decades."""

    recipe: str
    epochs: int
    rates: tuple[float, ...] = (3.2e-6, 1e-5, 3.2e-5, 1e-4, 3.2e-4, 1e-3, 3.2e-3)


CASES = {"streets": Case("streets/yolo26n", 2), "bccd": Case("bccd/yolo26n", 3)}


@contextmanager
def subject_of(name: str, arguments: argparse.Namespace) -> Iterator[DescentSubject]:
    """The calibrated model of a set, made where it is not there yet."""
    overrides = [f"model.imgsz={arguments.imgsz}", *FAST]
    if name == "bccd":
        overrides += [f"model.weights={arguments.bccd_weights}", f"data.path={arguments.bccd_data}"]
    elif arguments.streets_data:
        overrides.append(f"data.path={arguments.streets_data}")
    recipe = CASES[name].recipe
    folder = RunFolder.create(arguments.work / f"{name}-{arguments.imgsz}", load_recipe(recipe, overrides), recipe)
    with TerminalProgress() as progress:
        run_stages(folder, ["data", "float", "ptq"], progress)
    with opened_subject(folder) as subject:
        yield subject


def short_training(subject: DescentSubject, rate: float, seed: int, epochs: int) -> dict[str, Any]:
    """The recipe's training at one rate: loss of the held-out images before it and after it, and mAP after it."""
    settings = replace(subject.settings, lr0=rate, seed=seed, epochs=epochs)
    student, held_out = subject.student, subject.held_out_batches()
    losses: list[float] = []
    maps: list[float] = []

    def evaluate() -> float:
        if not losses or len(losses) == epochs:
            losses.append(mean_loss(student, held_out, subject.settings, subject.distiller))
            if len(losses) > 1:
                maps.append(subject.map50_95())
        else:
            losses.append(0.0)  # epochs in between are not asked for
        return 0.0

    start = time.process_time()
    with taken_back(student):
        fine_tune(student, subject.training_batches(seed), settings, Functions(evaluate))
    return {
        "start": losses[0],
        "loss": losses[-1],
        "map50_95": maps[-1],
        "cpu_s": round(time.process_time() - start, 1),
    }


def main() -> None:
    """Measures what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--bccd-weights", default="", help="without it, only streets is measured")
    option("--bccd-data", default="datasets/bccd")
    option("--streets-data", default="")
    option("--imgsz", type=int, default=160)
    option("--work", type=Path, default=Path("runs/lr_range"))
    option("--result", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = ResultFile("lr_range", arguments.result)
    for name, case in CASES.items():
        if name == "bccd" and not arguments.bccd_weights:
            continue
        with subject_of(name, arguments) as subject:
            for seed in SEEDS:
                for rate in case.rates:
                    key = {"kind": "training", "set": name, "imgsz": arguments.imgsz, "rate": rate, "seed": seed}
                    key |= {"epochs": case.epochs}
                    if not [e for e in results.entries if key.items() <= e.items()]:
                        found = short_training(subject, rate, seed, case.epochs)
                        results.add(key | found)
                        print(key, found, flush=True)


if __name__ == "__main__":
    main()
