"""The real runs on which the rules of the diagnosis are proven: healthy ones, and each condition made on purpose.

A condition is a set of recipe overrides, on driving scenes (48 images, 96 px, 18 steps of 8 images unless it says
otherwise) or blood cells, and sometimes a damage to the float checkpoint. Runs go through the command line.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from edgegd.cli.main import edgegd
from edgegd.detectors.float_checkpoint import open_checkpoint
from edgegd.detectors.float_training import store_model
from edgegd.errors import NaNLossError
from edgegd.pipeline.artifacts import PTQ_STATE

STREETS, BCCD = "streets/yolo26n", "bccd/yolo26n"
SHIPPED = Path(__file__).resolve().parents[1] / "models/streets-yolo26n-320.pt"
KEPT = ("descent.jsonl", "descent.json", "adaptation.jsonl", "adaptation.json", "recipe.yaml", "run.json", "data.json")
_FAST = {
    "train.oscillation": "track",
    "quant.refine": "none",
    "quant.calibration_images": 16,
    "train.probe_every": 6,
    "target.profile": "x86-vnni",
}
_BASE: dict[str, dict[str, Any]] = {
    STREETS: {
        "data.train_images": 48,
        "data.val_images": 24,
        "model.imgsz": 96,
        "train.batch": 8,
        "train.epochs": 3,
        "train.grad_clip": 40,  # of 8 images of 96 px it is three times as long as of the recipe's 16 of 320 px
    },
    BCCD: {"model.imgsz": 128, "train.epochs": 2, "accuracy.images": 24},
}
_STILL = {f"train.{key}": 0 for key in ("fliplr", "scale", "translate", "hsv_h", "hsv_s", "hsv_v")}


def dead_channels(model: Any) -> None:
    """Half of one layer's channels give a constant."""
    layer = model.get_submodule("model.16.cv1")
    with torch.no_grad():
        half = len(layer.bn.weight) // 2
        layer.bn.weight[:half] = 0
        layer.bn.bias[:half] = -12.0  # where SiLU and its slope are nearly 0


def lopsided_layers(model: Any) -> None:
    """The results of one layer are 30 times as large, and the weights of the next as much smaller."""
    with torch.no_grad():
        for head in ("cv2", "one2one_cv2"):
            branch = model.get_submodule(f"model.23.{head}.0")
            branch[0].bn.weight.mul_(30)
            branch[0].bn.bias.mul_(30)
            branch[1].conv.weight.div_(30)


@dataclass(frozen=True)
class Condition:
    """What was done, which rule must find it, and how the run differs from the recipe.

    `chosen_on` are the seeds of the runs that thresholds were chosen on; the others judge them.
    """

    name: str
    rule: str
    overrides: dict[str, Any]
    recipe: str = STREETS
    damage: Callable[[Any], None] | None = None
    chosen_on: tuple[int, ...] = (0,)


CONDITIONS = (
    Condition("healthy, streets", "converged", {}),
    Condition("healthy, BCCD", "converged", {}, BCCD),
    Condition("rate x 1000", "diverged", {"train.lr0": 0.05}, chosen_on=(0, 1)),
    Condition("rate x 30", "rate-too-high", {"train.lr0": 1.5e-3}),
    Condition("rate / 300", "rate-too-low", {"train.lr0": 1.7e-7, "train.range_lr": 3e-6}),
    Condition(
        "converged before, constant rate",
        "plateau",
        {
            "model.imgsz": 320,  # at which the shipped checkpoint was trained, on such images: nothing is left to gain
            "data.train_images": 128,
            "data.val_images": 60,
            "train.lrf": 1.0,
            "train.epochs": 6,
        },
        chosen_on=(),
    ),
    Condition(
        "few images, rate x 10",
        "overfitting",
        {"data.train_images": 16, "train.epochs": 10, "train.lr0": 5e-4, **_STILL},
        chosen_on=(0, 1, 2, 3),
    ),
    Condition(
        "8 images, 32 epochs",
        "set-too-small",
        {"data.train_images": 8, "train.epochs": 32, "accuracy.images": 8},
    ),
    Condition("rate of ranges x 300", "ranges-collapsed", {"train.range_lr": 0.3}, chosen_on=(0, 1, 2, 3)),
    Condition(
        "rate of ranges x 30, constant",
        "ranges-moving",
        {"train.range_lr": 0.03, "train.lrf": 1.0, "train.freeze_ranges_epochs": 0},
    ),
    Condition("a layer with inputs x 30", "gradient-dominated", {}, damage=lopsided_layers),
    Condition("dead channels", "dead-channels", {}, damage=dead_channels),
    Condition("ranges cut at 85 %", "saturated-channels", {"quant.observer": "percentile", "quant.percentile": 85.0}),
    Condition("weights swing", "oscillating", {"train.lr0": 2e-4, "train.lrf": 1.0}),
    Condition("clip at 1", "clipped", {"train.grad_clip": 1.0}),
)


def overrides_of(condition: Condition, seed: int, work: Path, bccd: Sequence[str]) -> dict[str, Any]:
    """The run's `--set` values; `bccd` is a checkpoint and a folder of images."""
    own = _BASE[condition.recipe] | _FAST | condition.overrides
    if condition.recipe == BCCD:
        own |= {"model.weights": bccd[0], "data.path": bccd[1]}
    else:
        own["data.path"] = work / f"streets-{own['data.train_images']}"
    if condition.damage:
        own["model.weights"] = damaged(condition, work)
    return own | {"train.seed": seed}


def damaged(condition: Condition, work: Path) -> Path:
    """The shipped checkpoint with the condition's damage."""
    path = work / f"{condition.rule}.pt"
    if condition.damage and not path.exists():
        model = open_checkpoint(SHIPPED)
        condition.damage(model)
        store_model(model, path)
    return path


def run(condition: Condition, seed: int, work: Path, bccd: Sequence[str]) -> Path:
    """The run's folder, of which only what a diagnosis reads is kept; made where it is not there yet.

    Runs of one seed whose models are calibrated alike start from copies of one calibrated folder.
    """
    folder = folder_of(condition, seed, work)
    if (folder / "stderr").exists():
        return folder
    overrides = overrides_of(condition, seed, work, bccd)
    calibrated = {key: value for key, value in overrides.items() if not key.startswith("train.") or key == "train.seed"}
    base = work / f"calibrated-{sha256(json.dumps(calibrated, default=str).encode()).hexdigest()[:12]}"
    if not (base / PTQ_STATE).exists():
        command(condition.recipe, base, calibrated, "ptq")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder)
    said = command(condition.recipe, folder, overrides, "qat")
    for path in folder.iterdir():
        if path.is_file() and path.name not in KEPT:
            path.unlink()
        elif path.is_dir():
            shutil.rmtree(path)
    (folder / "stderr").write_text(said)
    return folder


def folder_of(condition: Condition, seed: int, work: Path) -> Path:
    """Where the run is."""
    return work / f"{re.sub('[^a-z0-9]+', '-', condition.name.lower())}-{seed}"


def command(recipe: str, folder: Path, overrides: dict[str, Any], until: str) -> str:
    """Runs `edgegd run` in this process, and returns what it says on stderr; a loss that is not finite may end it."""
    words = [word for key, value in overrides.items() for word in ("--set", f"{key}={value}")]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            edgegd.main(["run", recipe, "--run-dir", str(folder), "--until", until, *words], standalone_mode=False)
        except NaNLossError as error:
            said.write(f"{error}\n")
    return said.getvalue()
