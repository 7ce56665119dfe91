"""What QAT itself earned: QAT, PTQ and the same steps in float (train.control), on images that chose no epoch.

    python benchmarks/what_earned_it.py bccd/yolo26n --weights MY.pt --data MY/bccd [--seeds 0 1 2]

Each seed is one run of the recipe with `data.select: holdout`: epochs are chosen on a share of the training images, on
which nothing is trained or calibrated, and mAP in onnxruntime is of the validation images. Differences are paired, with
a 95 % interval by the bootstrap over images; the last rows are of the mean over the seeds, under the same draws of
images, so that their intervals are of the images and not of the seeds. Runs are those of `edgegd sweep --recipes`, kept
in --work: a killed one goes on. The committed rows are of 2026-12-01, when this file started the same runs itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from result_file import ResultFile
from sweep_gain import sweep
from tabulate import tabulate

from edgegd.accuracy.bootstrap import draw_images, percentile_interval
from edgegd.accuracy.weighted import mean_precisions
from edgegd.json_files import load_json
from edgegd.pipeline.artifacts import CONTROL, DESCENT
from edgegd.pipeline.measured import stored_measured
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.sweep.folder import SweepFolder

MODELS = ("fp32", "ptq", "control", "qat")
PAIRS = (("ptq", "fp32"), ("control", "fp32"), ("qat", "fp32"), ("qat", "control"))
SHARE = 0.15
EPOCHS = {"qat": DESCENT, "control": CONTROL}


def sampled(folder: RunFolder) -> dict[str, np.ndarray]:
    """Of each model mAP50-95 in 0..1 of the images themselves and of every draw of them, (1 + draws,)."""
    measured = stored_measured(folder)
    images = len(measured.truth.image_paths)
    weights = np.concatenate([np.ones((1, images), np.int64), draw_images(images)])
    return {model: mean_precisions(measured.matches(model), weights).map50_95 for model in MODELS}


def differences(maps: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """The difference of each of PAIRS and its interval, in 0..1."""
    found = {}
    for first, second in PAIRS:
        own, *draws = maps[first] - maps[second]
        found[f"{first} - {second}"] = {"difference": float(own), "interval": percentile_interval(np.array(draws))}
    return found


def entry(recipe: str, seeds: Sequence[int], maps: dict[str, np.ndarray], more: dict[str, Any]) -> dict[str, Any]:
    """A result: of one seed, or of the mean over several."""
    return {
        "recipe": recipe,
        "seeds": list(seeds),
        "holdout_share": SHARE,
        "map50_95": {model: float(values[0]) for model, values in maps.items()},
        "differences": differences(maps),
        **more,
    }


def run_seeds(arguments: argparse.Namespace) -> dict[int, RunFolder]:
    """The run of each seed, by `edgegd sweep --recipes`."""
    settings = {
        "model.weights": arguments.weights,
        "data.path": arguments.data,
        "data.select": "holdout",
        "data.holdout_share": SHARE,
        "train.control": "true",
    }
    sets = [text for key, value in settings.items() for text in ("--set", f"{key}={value}")]
    where = ["--seeds", ",".join(map(str, arguments.seeds)), "--sweep-dir", str(arguments.work)]
    found = sweep("--recipes", arguments.recipe, *where, *sets)
    runs = SweepFolder(arguments.work)
    return {run["seed"]: RunFolder.open_existing(runs.run_dir(run["name"])) for run in found["runs"]}


def table(entries: Sequence[dict[str, Any]], style: str = "simple") -> str:
    """A row a result: mAP in percent, differences in points."""
    rows = []
    for one in entries:
        seeds = one["seeds"]
        cells = [f"{100 * one['map50_95'][model]:.2f}" for model in MODELS]
        for value in one["differences"].values():
            low, high = value["interval"]
            cells.append(f"{100 * value['difference']:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]")
        rows.append([one["recipe"], str(seeds[0]) if len(seeds) == 1 else f"mean of {len(seeds)}", *cells])
    headers = ["recipe", "seed", "FP32", "PTQ", "float control", "QAT", *(f"{a} - {b}" for a, b in PAIRS)]
    return tabulate(rows, headers, tablefmt=style, disable_numparse=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    results, found = ResultFile("what_earned_it"), []
    for seed, folder in run_seeds(arguments).items():
        maps = sampled(folder)
        found.append(maps)
        if not results.find(recipe=arguments.recipe, seeds=[seed]):
            best = {name: load_json(folder.artifact(kind).read_text())["best_epoch"] for name, kind in EPOCHS.items()}
            results.add(entry(arguments.recipe, [seed], maps, {"best_epoch": best}))
    if len(found) > 1 and not results.find(recipe=arguments.recipe, seeds=arguments.seeds):
        mean = {model: np.mean([maps[model] for maps in found], axis=0) for model in MODELS}
        results.add(entry(arguments.recipe, arguments.seeds, mean, {}))
    print(table(results.entries))


if __name__ == "__main__":
    main()
