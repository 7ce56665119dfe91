"""A QAT step in two processes against one process with two threads, for the same batch; and what accumulation costs.

    python benchmarks/data_parallel.py [--imgsz 160 320] [--batch 16] [--pairs 12] [--write]

For a quiet machine with two cores. Steps alternate: the first of two processes takes the whole batch alone, with two
threads, while the other one waits; then both take a step together, a thread and a share each. So do one process in one
part and in four. Batches are loaded before. The interval of a ratio is a bootstrap over the pairs. Peak memory is that
of a process of its own for each number of parts. With --write the JSON goes to benchmarks/results/data_parallel.json.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from qat_step_cost import RECIPE, draw_batches

from edgegd.descent.launcher import run_together
from edgegd.descent.ranks import ALONE, Ranks, joined_ranks
from edgegd.descent.training import Training
from edgegd.detectors.batches import hyperparameters
from edgegd.detectors.data_order import share_of
from edgegd.detectors.deployment import deploy, plan_detector
from edgegd.detectors.float_checkpoint import open_checkpoint
from edgegd.detectors.losses import prepare_loss, some_images
from edgegd.device.fingerprint import fingerprint
from edgegd.device.profile import this_machine
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate
from edgegd.recipe.load import load_recipe
from edgegd.recipe.paths import resolve_path

RESULT = Path(__file__).parent / "results/data_parallel.json"
PROCESSES, PARTS, WARMUP, BATCHES = 2, 4, 2, 3
PROGRAM = (
    f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from data_parallel import together; together()"
)


class Subject:
    """The recipe's checkpoint, calibrated, and batches of one size."""

    def __init__(self, imgsz: int, batch: int, folder: Path) -> None:
        overrides = [
            f"data.path={folder}/set",
            f"data.train_images={BATCHES * batch}",
            "data.val_images=1",
            f"train.batch={batch}",
            f"model.imgsz={imgsz}",
        ]
        self.recipe = load_recipe(RECIPE, overrides)
        self.batches = draw_batches(self.recipe, folder)
        model: Any = deploy(open_checkpoint(resolve_path(self.recipe.model.weights)).float())
        self._student = QuantizedModel(model, plan_detector(model, imgsz, this_machine().profile))
        calibrate(self._student, [self.batches[0]["img"].float() / 255], self.recipe.quant.observer)

    def training(self, ranks: Ranks = ALONE, parts: int = 1) -> Training:
        """A new training from there."""
        student = copy.deepcopy(self._student)
        settings = dataclasses.replace(self.recipe.train, accumulate=parts)
        prepare_loss(student.model, hyperparameters(settings, self.recipe.model.size))
        student.train()
        return Training(student, settings, None, ranks)


def together() -> None:
    """What each of the processes does; the first writes the milliseconds of all steps."""
    imgsz, batch, pairs, folder = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    with joined_ranks() as ranks:
        subject = Subject(imgsz, batch, folder / str(ranks.rank))
        in_two = subject.training(ranks)
        alone = {"one process": subject.training(), f"{PARTS} parts": subject.training(parts=PARTS)}
        durations: dict[str, list[float]] = {name: [] for name in [*alone, "two processes"]}
        for number in range(-WARMUP, pairs):
            whole = subject.batches[number % BATCHES]
            own = some_images(whole, *share_of(len(whole["img"]), ranks.share))
            for name in list(durations)[:: 1 if number % 2 else -1]:
                ranks.gather(None)  # the other process begins, and waits, when this one does
                begun = time.perf_counter()
                if name in alone:
                    torch.set_num_threads(PROCESSES)
                    if ranks.is_first:
                        alone[name].take_step(whole, 1.0, 0.0)
                else:
                    torch.set_num_threads(1)
                    in_two.take_step(own, 1.0, 0.0)
                if number >= 0:
                    durations[name].append(1000 * (time.perf_counter() - begun))
        if ranks.is_first:
            (folder / "durations.json").write_text(json.dumps(durations))


def ratio(durations: dict[str, list[float]], name: str) -> dict[str, float]:
    """Of the medians, over that of one process, and its 95 % interval: 10,000 bootstrap draws of the pairs."""
    table = np.array([durations[name], durations["one process"]])  # (2, pairs)
    drawn = np.random.default_rng(0).integers(table.shape[1], size=(10_000, table.shape[1]))
    medians = np.median(table[:, drawn], axis=2)  # (2, pairs) -> (2, 10000, pairs) -> (2, 10000)
    low, high = np.percentile(medians[0] / medians[1], [2.5, 97.5])
    return {"ratio": float(np.median(table[0]) / np.median(table[1])), "low": float(low), "high": float(high)}


def peak_mb(imgsz: int, batch: int, parts: int) -> tuple[float, float]:
    """The resident memory of a process before its first step, and the most until it has taken two, in MB."""
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from data_parallel import memory; "
        f"memory({imgsz}, {batch}, {parts})"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, most = found.stdout.split()[-2:]
    return float(before), float(most)


def memory(imgsz: int, batch: int, parts: int) -> None:
    """Prints both."""
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject(imgsz, batch, Path(folder))
        training = subject.training(parts=parts)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(2):
            training.take_step(subject.batches[0], 1.0, 0.0)
        print(before / 1000, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)


def measure(imgsz: int, batch: int, pairs: int) -> dict[str, Any]:
    """One size of images."""
    with tempfile.TemporaryDirectory() as folder:
        run_together(PROGRAM, [str(imgsz), str(batch), str(pairs), folder], PROCESSES, Path(folder) / "logs")
        durations = json.loads((Path(folder) / "durations.json").read_text())
    row = {
        "imgsz": imgsz,
        "batch": batch,
        "median_ms": {name: statistics.median(values) for name, values in durations.items()},
        "over_one_process": {name: ratio(durations, name) for name in durations if name != "one process"},
        "peak_mb": {str(parts): peak_mb(imgsz, batch, parts) for parts in (1, PARTS)},
        "durations_ms": durations,
    }
    for name, found in row["over_one_process"].items():
        print(
            f"{imgsz} px, batch {batch}: {name} {row['median_ms'][name]:.0f} ms, one process "
            f"{row['median_ms']['one process']:.0f} ms: {found['ratio']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
        )
    print(f"{imgsz} px, MB before the first step and at most, by parts: {row['peak_mb']}")
    return row


def main() -> None:
    """Measures, prints, and writes where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imgsz", type=int, nargs="+", default=[160, 320], help="sides of the images in pixels")
    parser.add_argument("--batch", type=int, default=16, help="images a step")
    parser.add_argument("--pairs", type=int, default=12, help="timed steps of each side")
    parser.add_argument("--write", action="store_true", help="write the JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(PROCESSES)
    rows = [measure(imgsz, arguments.batch, arguments.pairs) for imgsz in arguments.imgsz]
    if arguments.write:
        result = {
            "schema": 1,
            "date": datetime.now(timezone.utc).date().isoformat(),
            "machine": fingerprint(),
            "torch": torch.__version__,
            "recipe": RECIPE,
            "rows": rows,
        }
        RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
