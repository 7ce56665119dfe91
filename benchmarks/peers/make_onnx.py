"""Makes the ONNX files of one peer: Ultralytics' export, PTQ and QAT, and onnxruntime's quantize_static.

    PEER/bin/python benchmarks/peers/make_onnx.py ultralytics-qat --weights MY.pt --data MY/bccd --out FOLDER --seed 0

benchmarks/accuracy_vs_peers.py and latency_vs_peers.py run it, with the Python that has the peers installed
(`pip install edgegd[bench]`) and this project on PYTHONPATH. Writes into FOLDER `best.onnx`, after a training
`last.onnx` too, and `made.json` (settings, versions).
"""

from __future__ import annotations

import edgegd  # noqa: F401 -- before onnxruntime and Ultralytics, which read the environment that it sets

# isort: split

import argparse
import dataclasses
import json
import os
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from ultralytics import YOLO

from edgegd.data.calibration import batches, calibration_images
from edgegd.data.dataset import Dataset, open_dataset
from edgegd.data.view import ultralytics_yaml
from edgegd.recipe.load import load_recipe
from edgegd.recipe.schema import Recipe
from edgegd.runtime.contract import INPUT_NAME, Preprocessing

RECIPE = "bccd/yolo26n"
# The command of the pull request that brought QAT (ultralytics/ultralytics#26083); its batch of 64 is accumulated here
# from batches of 16, and it runs for the recipe's epochs without early stopping, as all else in the comparison.
PUBLISHED = {
    "optimizer": "AdamW",
    "lr0": 1e-5,
    "lrf": 0.1,
    "warmup_epochs": 0.5,
    "cos_lr": True,
    "mosaic": 0.0,
    "nbs": 64,
}
_CHUNK = 16  # images of 320 px whose activations quantize_static holds at a time: all 128 take 11 GB


def tuned(recipe: Recipe) -> dict[str, Any]:
    """Ultralytics' training with the settings that edgegd's recipe has: the same steps, rates and augmentation."""
    train = recipe.train
    same = (
        "optimizer",
        "lr0",
        "lrf",
        "momentum",
        "weight_decay",
        "warmup_epochs",
        "mosaic",
        "fliplr",
        "scale",
        "translate",
        "hsv_h",
        "hsv_s",
        "hsv_v",
    )
    return {name: getattr(train, name) for name in same} | {
        "warmup_momentum": train.momentum,
        "warmup_bias_lr": 0.0,
        "cos_lr": True,
        "nbs": train.batch,
    }


def export(weights: Path, destination: Path, imgsz: int, **settings: Any) -> None:
    """Ultralytics' export of a copy of `weights`: it writes beside the checkpoint, and deletes files there."""
    copied = destination.with_suffix(".pt")
    if copied != weights:
        shutil.copy(weights, copied)
    exported = YOLO(copied).export(format="onnx", imgsz=imgsz, batch=1, **settings)
    os.replace(exported, destination)


def train(
    weights: Path, data_yaml: Path, out: Path, recipe: Recipe, seed: int, settings: dict[str, Any], form: dict[str, Any]
) -> dict[str, Any]:
    """Ultralytics' training, then the export of its best and its last epoch."""
    settings = {"epochs": recipe.train.epochs, "batch": recipe.train.batch, "patience": 0, **settings}
    model = YOLO(weights)
    model.train(
        data=str(data_yaml),
        imgsz=recipe.model.imgsz,
        seed=seed,
        deterministic=True,
        device="cpu",
        workers=0,
        amp=False,
        plots=False,
        project=str(out),
        name="train",
        exist_ok=True,
        **settings,
    )
    for which in ("best", "last"):
        export(out / f"train/weights/{which}.pt", out / f"{which}.onnx", recipe.model.imgsz, **form)
    return settings


class Images(CalibrationDataReader):
    """The calibration images, one at a time, with the runtime's own preprocessing."""

    def __init__(self, paths: tuple[Path, ...], imgsz: int) -> None:
        self.paths, self.preprocessing = paths, Preprocessing(imgsz=(imgsz, imgsz))
        self.set_range(0, len(paths))

    def __len__(self) -> int:
        return len(self.paths)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Goes on with the images from `start_index` to before `end_index`."""
        self.stream = batches(self.paths[start_index:end_index], self.preprocessing, 1)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next image as the network's input (1, 3, imgsz, imgsz), None after the last."""
        image = next(self.stream, None)
        return None if image is None else {INPUT_NAME: image}


def decoding(path: Path) -> list[str]:
    """The nodes of the head that lie in none of its branches (cv2, cv3 and those of the NMS-free head, one2one_cv2 and
    one2one_cv3): box pixels and scores share tensors there."""
    nodes = [node.name for node in onnx.load(path).graph.node]
    numbers = [int(name.split("/")[1].removeprefix("model.")) for name in nodes if name.startswith("/model.")]
    head = f"/model.{max(numbers)}/"
    return [name for name in nodes if name.startswith(head) and "cv2." not in name and "cv3." not in name]


def quantize_statically(
    weights: Path, out: Path, imgsz: int, images: tuple[Path, ...], method: str, form: dict[str, Any]
) -> dict[str, Any]:
    """onnxruntime's quantize_static at its best: uint8 activations, int8 weights per channel, all ops but decoding."""
    float_file, prepared = out / "fp32.onnx", out / "prepared.onnx"
    export(weights, float_file, imgsz, **form)
    quant_pre_process(float_file, prepared, skip_symbolic_shape=bool(form))  # it fails at the NMS-free head's TopK
    excluded = decoding(prepared)
    most = max(1, _CHUNK * 320**2 // imgsz**2)
    chunk = next(size for size in range(most, 0, -1) if len(images) % size == 0)
    quantize_static(
        prepared,
        out / "best.onnx",
        Images(images, imgsz),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=excluded,
        calibrate_method=CalibrationMethod[method],
        extra_options={"CalibStridedMinMax": chunk},
    )
    return {"calibrate_method": method, "excluded_nodes": excluded, "images": len(images)}


def make(
    kind: str, weights: Path, dataset: Dataset, recipe: Recipe, seed: int, out: Path, end2end: bool
) -> dict[str, Any]:
    """Writes the files of one peer into `out` and returns the settings it used; `end2end` exports the NMS-free head."""
    form: dict[str, Any] = {"nms": False} if end2end else {}
    imgsz = recipe.model.imgsz
    images = calibration_images(dataset, recipe.quant.calibration_images, 0)
    if kind.startswith("onnxruntime-"):
        methods = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
        return quantize_statically(weights, out, imgsz, images, methods[kind.removeprefix("onnxruntime-")], form)
    if kind == "ultralytics-fp32":
        export(weights, out / "best.onnx", imgsz, **form)
        return {}
    if kind == "ultralytics-ptq":  # it calibrates on the split `val`: here, the images that all others calibrate on
        data_yaml = ultralytics_yaml(dataclasses.replace(dataset, val_images=images), out / "view")
        export(weights, out / "best.onnx", imgsz, quantize=8, data=str(data_yaml), **form)
        return {"images": len(images)}
    settings = PUBLISHED if kind == "ultralytics-qat" else tuned(recipe)
    quantize = {} if kind == "ultralytics-float" else {"quantize": 8}
    return train(weights, ultralytics_yaml(dataset, out / "view"), out, recipe, seed, {**settings, **quantize}, form)


def installed(package: str) -> str:
    """The version of a package, or why there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def main() -> None:
    """Makes what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--recipe", default=RECIPE, help="a recipe file or the name of a shipped one")
    parser.add_argument("--data", required=True, help="what the recipe's data.path is to be")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="other values of the recipe")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--end2end", action="store_true", help="export the head that needs no NMS")
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe, [f"data.path={arguments.data}", *arguments.set])
    arguments.out.mkdir(parents=True, exist_ok=True)
    settings = make(
        arguments.kind,
        arguments.weights.resolve(),
        open_dataset(recipe.data),
        recipe,
        arguments.seed,
        arguments.out.resolve(),
        arguments.end2end,
    )
    packages = ("ultralytics", "torch", "onnxruntime", "onnx", "onnxslim", "nvidia-modelopt")
    made = {"settings": settings, "versions": {name: installed(name) for name in packages}}
    (arguments.out / "made.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
