"""Whether a sweep finds better values than a recipe has, judged on images that no trial saw.

    python benchmarks/sweep_gain.py --weights MY.pt --data MY/bccd [--trials 12]

The search holds a fifth of BCCD's training images out (`data.select: holdout`): its objective, the mAP of the
fake-quantized model, is measured on these. Then the recipe and the best trial are trained with three other seeds, and
both are measured on the validation images. All at 160 px with three epochs. A killed benchmark goes on where it was;
the result is benchmarks/results/sweep_gain.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from result_file import ROOT, ResultFile, installed

from edgegd.recipe.dump import recipe_to_yaml
from edgegd.recipe.load import load_recipe
from edgegd.recipe.ranges import override

RECIPE = "bccd/yolo26n"
RANGES = (
    "train.lr0=log:2e-5..2e-3",
    "train.range_lr=log:1e-4..1e-2",
    "train.ema_decay=0.9..0.998",
    "train.distill.head=0,1",
)
SEARCHED, OBJECTIVES = "descent.best_map50_95", ("accuracy.qat.map50_95", "accuracy.ptq.map50_95")
EPOCHS, SEEDS = 3, (1, 2, 3)
FIRST, BEST = "recipe", "sweep"


def sweep(*arguments: str) -> dict[str, Any]:
    """`edgegd sweep ... --json`, as a child that ends with this process."""
    command = [sys.executable, "-m", "edgegd.cli.child", "sweep", *arguments, "--json"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = process.stdout.read()
    if process.returncode:
        sys.exit(process.returncode)
    return json.loads(told)


def options(settings: Sequence[str]) -> list[str]:
    """`--set` before each."""
    return [option for setting in settings for option in ("--set", setting)]


def main() -> None:
    """Searches, compares, stores and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--work", type=Path, default=ROOT / "runs/sweep_gain")
    arguments = parser.parse_args()
    work = arguments.work.absolute()
    fixed = [
        f"train.epochs={EPOCHS}",
        f"model.weights={arguments.weights}",
        f"data.path={arguments.data}",
        "model.imgsz=160",
        "data.select=holdout",
        "data.holdout_share=0.2",
    ]
    where = ["--sweep-dir", str(work / "search"), "--trials", str(arguments.trials)]
    found = sweep(RECIPE, *options([*fixed, *RANGES]), "--objective", SEARCHED, *where)
    best = found["trials"][found["best"][0]]
    recipes = {
        FIRST: fixed,
        BEST: [*fixed, *(override(key, value) for key, value in best["values"].items())],
    }
    for name, settings in recipes.items():
        (work / f"{name}.yaml").write_text(recipe_to_yaml(load_recipe(RECIPE, settings)))
    seeds = ",".join(map(str, SEEDS))
    wanted = [option for name in OBJECTIVES for option in ("--objective", name)]
    files = [str(work / f"{name}.yaml") for name in recipes]
    compared = sweep("--recipes", *files, "--seeds", seeds, *wanted, "--sweep-dir", str(work / "compared"))
    ResultFile("sweep_gain").add(
        {
            "recipe": RECIPE,
            "imgsz": 160,
            "epochs": EPOCHS,
            "ranges": list(RANGES),
            "objective": SEARCHED,
            "trials": [
                {key: one[key] for key in ("number", "state", "values", "objectives", "by_epoch", "seconds")}
                for one in found["trials"]
            ],
            "best": best["number"],
            "own": found["own"],
            "runs": [
                {key: one[key] for key in ("recipe", "seed", "objectives", "seconds")} for one in compared["runs"]
            ],
            "rows": compared["rows"],
            "sentence": compared["sentence"],
        },
        {"optuna": installed("optuna")},
    )
    print(compared["sentence"])


if __name__ == "__main__":
    main()
