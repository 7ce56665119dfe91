"""What the telemetry of a descent costs (docs/telemetry.md): of every step, and of one that is looked at closely.

    OMP_NUM_THREADS=1 python benchmarks/probe_cost.py [--pairs 12]

Three kinds of the same QAT step (streets/yolo26n, 320 px, 16 images) alternate in one process: without any telemetry,
with what every step records, and probed. Costs are shares of a step without; the interval of the whole, at the
recipe's default of one probe in so many steps, is a bootstrap over the rounds. Writes
benchmarks/results/probe_cost.json.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from qat_step_cost import BATCHES, RECIPE, WARMUP, draw_batches, milliseconds, steppers
from result_file import ResultFile

from edgegd.descent.training import Training
from edgegd.recipe.load import load_recipe
from edgegd.recipe.training import TrainSection

EVERY = TrainSection().probe_every
DRAWS = 10_000
Step = Callable[[dict[str, Any]], None]


def kinds(step: Step) -> dict[str, Step]:
    """The three kinds of a step."""
    take = Training.take_step

    def bare(batch: dict[str, Any]) -> None:
        nothing = patch("edgegd.descent.telemetry.Clock.lap", lambda self, part: None)
        with patch("edgegd.descent.training.group_norms", lambda optimizer: {}), nothing:
            step(batch)

    def probed(batch: dict[str, Any]) -> None:
        with patch.object(Training, "take_step", lambda self, *a: take(self, *a, probed=True)):
            step(batch)

    return {"bare": bare, "every step": step, "probed": probed}


def shares(ms: np.ndarray) -> dict[str, float]:
    """Of medians (3, ...) of the kinds: what every step costs, a probe, and both together, as shares of a bare step."""
    bare, every, probed = ms
    result = {"every_step": every / bare - 1, "probe": (probed - every) / bare}
    return result | {"whole": result["every_step"] + result["probe"] / EVERY}


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=12, help="timed steps of each kind")
    pairs = parser.parse_args().pairs
    with tempfile.TemporaryDirectory() as folder:
        recipe = load_recipe(
            RECIPE, [f"data.path={folder}/set", f"data.train_images={16 * BATCHES}", "data.val_images=1"]
        )
        batches = draw_batches(recipe, Path(folder))
    steps = kinds(steppers(recipe, batches)["qat"])
    rounds = [
        [milliseconds(step, batches[number % len(batches)], "cpu") for step in steps.values()]
        for number in range(-WARMUP, pairs)
    ]
    table = np.array(rounds[WARMUP:]).T  # (3, pairs)
    drawn = np.random.default_rng(0).integers(pairs, size=(DRAWS, pairs))
    low, high = np.percentile(shares(np.median(table[:, drawn], axis=2))["whole"], [2.5, 97.5])
    measured = {name: float(value) for name, value in shares(np.median(table, axis=1)).items()}
    entry = {"every": EVERY, "ms": dict(zip(steps, np.median(table, axis=1).tolist(), strict=True)), **measured}
    entry |= {"low": float(low), "high": float(high), "pairs": pairs}
    print(entry)
    file = ResultFile("probe_cost")
    file.drop(lambda old: True)
    file.add(entry)


if __name__ == "__main__":
    main()
