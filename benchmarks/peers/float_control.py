"""The control of edgegd's QAT: the same training loop on the float model, for as long, chosen in the same way.

    python benchmarks/peers/float_control.py --weights MY.pt --data MY/bccd --out FOLDER --seed 0

BatchNorm is folded, as under QAT; nothing is quantized. benchmarks/accuracy_vs_peers.py runs it. Writes into FOLDER the
FP32 files `best.onnx` (best epoch by mAP on the validation images), `last.onnx` (last epoch) and `made.json` (the
record).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import onnx
import torch

from edgegd.accuracy.evaluate import score
from edgegd.cli.progress import TerminalProgress
from edgegd.data.view import ultralytics_yaml
from edgegd.descent.fine_tune import fine_tune
from edgegd.descent.listener import Functions
from edgegd.descent.random_state import seed_everything
from edgegd.detectors.batches import TrainingBatches, hyperparameters
from edgegd.detectors.losses import prepare_loss
from edgegd.detectors.student import FloatStudent
from edgegd.export.graph import build_graph
from edgegd.pipeline.models import float_model, torch_detections
from edgegd.pipeline.run import run_stages
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stored import measured_truth, stored_dataset
from edgegd.recipe.load import load_recipe

RECIPE = "bccd/yolo26n"
State = dict[str, torch.Tensor]


def train(folder: RunFolder, progress: TerminalProgress) -> tuple[Any, dict[str, State], dict[str, Any]]:
    """Trains the run's float model; returns it, its states `best` and `last` (averages), and the record."""
    recipe, dataset, truth = folder.recipe, stored_dataset(folder), measured_truth(folder)
    seed_everything(recipe.train.seed)
    student = FloatStudent(float_model(folder))
    model: Any = student.model
    prepare_loss(model, hyperparameters(recipe.train, recipe.model.imgsz))
    states: dict[str, State] = {}

    def evaluate() -> float:
        student.eval()
        states["last"] = {name: value.clone() for name, value in model.state_dict().items()}
        found = list(torch_detections(student, model, folder, truth.image_paths))
        return score(found, truth, max_det=recipe.accuracy.max_det).map50_95

    def keep(epoch: int) -> None:
        states["best"] = states["last"]

    view = ultralytics_yaml(dataset, folder.artifact("view"))
    stream = TrainingBatches(view, dataset.names, recipe.train, recipe.model.imgsz)
    descent = fine_tune(student, stream, recipe.train, Functions(evaluate, keep, progress.update))
    return model, states, dataclasses.asdict(descent)


def main() -> None:
    """Trains, exports both states and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=RECIPE, help="a recipe file or the name of a shipped one")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="other values of the recipe")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    overrides = [f"model.weights={arguments.weights}", f"data.path={arguments.data}", f"train.seed={arguments.seed}"]
    recipe = load_recipe(arguments.recipe, [*overrides, *arguments.set])
    folder = RunFolder.create(arguments.out, recipe, arguments.recipe)
    with TerminalProgress() as progress:
        run_stages(folder, ["data", "float"], progress)
        model, states, record = train(folder, progress)
    for name, state in states.items():
        model.load_state_dict(state)
        onnx.save(build_graph(model, recipe.model.imgsz, recipe.export.opset), arguments.out / f"{name}.onnx")
    made = {
        "settings": dataclasses.asdict(recipe.train),
        "best_epoch": record["best_epoch"],
        "epochs_map50_95_in_torch": [epoch["map50_95"] for epoch in record["epochs"]],
    }
    (arguments.out / "made.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
