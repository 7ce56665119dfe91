"""Makes the OpenVINO files of the float checkpoint and of NNCF's PTQ, as Ultralytics exports them and in other ways.

    PEER/bin/python benchmarks/peers/make_openvino.py nncf --weights MY.pt --data MY/bccd --out FOLDER

`openvino-fp32`: Ultralytics' float export. `nncf`: its INT8 export, which is NNCF's PTQ with the preset MIXED and the
head's decoding left float. `nncf-accurate`: the same with NNCF's slower bias correction. `nncf-default`: NNCF's
defaults on Ultralytics' ONNX file, without knowledge of the network. All calibrate on the same images.
benchmarks/accuracy_vs_peers.py runs it with the Python that has openvino and nncf. Writes `best.xml`, `best.bin` and
`made.json`.
"""

from __future__ import annotations

import edgegd  # noqa: F401 -- before Ultralytics, which reads the environment that it sets

# isort: split

import argparse
import dataclasses
import functools
import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nncf
import openvino
from ultralytics import YOLO

from edgegd.data.calibration import batches, calibration_images
from edgegd.data.dataset import Dataset, open_dataset
from edgegd.data.view import ultralytics_yaml
from edgegd.recipe.load import load_recipe
from edgegd.recipe.schema import Recipe
from edgegd.runtime.contract import Preprocessing

PACKAGES = ("openvino", "nncf", "ultralytics", "torch")


def export(weights: Path, out: Path, imgsz: int, **settings: Any) -> Path:
    """Ultralytics' export of a copy of `weights`: it writes beside the checkpoint."""
    copied = out / "float.pt"
    shutil.copy(weights, copied)
    return Path(YOLO(copied).export(imgsz=imgsz, batch=1, **settings))


def make(kind: str, weights: Path, dataset: Dataset, recipe: Recipe, out: Path) -> dict[str, Any]:
    """Writes the model of one kind to `out` and returns the settings it used."""
    imgsz = recipe.model.imgsz
    assert isinstance(imgsz, int)
    images = calibration_images(dataset, recipe.quant.calibration_images, 0)
    if kind == "nncf-default":
        network = openvino.Core().read_model(export(weights, out, imgsz, format="onnx"))
        preprocessing = Preprocessing(imgsz=(imgsz, imgsz))
        calibration = nncf.Dataset(list(images), lambda path: next(batches([path], preprocessing, 1)))
        quantized = nncf.quantize(network, calibration, subset_size=len(images))
        openvino.save_model(quantized, out / "best.xml", compress_to_fp16=False)
        return {"preset": "default", "images": len(images)}
    settings: dict[str, Any] = {}
    if kind != "openvino-fp32":  # it calibrates on the split `val`: here, the images that all others calibrate on
        settings = {
            "quantize": 8,
            "data": str(ultralytics_yaml(dataclasses.replace(dataset, val_images=images), out / "view")),
        }
    if kind == "nncf-accurate":  # Ultralytics has no argument for it
        nncf.quantize = functools.partial(nncf.quantize, fast_bias_correction=False)
    folder = export(weights, out, imgsz, format="openvino", **settings)
    (file,) = folder.glob("*.xml")
    for part in (file, file.with_suffix(".bin")):
        shutil.copy(part, out / f"best{part.suffix}")
    return settings and {
        "preset": "mixed",
        "ignored": "decoding of the head",
        "images": len(images),
        "fast_bias_correction": kind != "nncf-accurate",
    }


def main() -> None:
    """Makes what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("openvino-fp32", "nncf", "nncf-accurate", "nncf-default"))
    parser.add_argument("--recipe", default="bccd/yolo26n", help="a recipe file or the name of a shipped one")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", required=True, help="what the recipe's data.path is to be")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="other values of the recipe")
    parser.add_argument("--seed", type=int, help="of no effect: NNCF takes none")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe, [f"data.path={arguments.data}", *arguments.set])
    arguments.out.mkdir(parents=True, exist_ok=True)
    settings = make(
        arguments.kind, arguments.weights.resolve(), open_dataset(recipe.data), recipe, arguments.out.resolve()
    )
    made = {"settings": settings, "versions": {name: version(name) for name in PACKAGES}}
    (arguments.out / "made.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
