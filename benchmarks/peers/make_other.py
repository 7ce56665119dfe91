"""Makes the file of another runtime from the float checkpoint, as `edgegd latency --beside` makes it.

    PEER/bin/python benchmarks/peers/make_other.py litert-int8 --weights MY.pt --data MY/bccd --out FOLDER

INT8 formats calibrate on the images that all peers calibrate on. benchmarks/accuracy_vs_peers.py runs it with the
Python that has the packages. Writes `best.RUNTIME.zip` and `made.json`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from edgegd.data.calibration import calibration_images
from edgegd.data.dataset import open_dataset
from edgegd.data.view import ultralytics_yaml
from edgegd.detectors.other_export import export_other
from edgegd.pipeline.beside import BESIDE
from edgegd.recipe.load import load_recipe


def main() -> None:
    """Makes what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=BESIDE)
    parser.add_argument("--recipe", default="bccd/yolo26n", help="a recipe file or the name of a shipped one")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", required=True, help="what the recipe's data.path is to be")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="other values of the recipe")
    parser.add_argument("--seed", type=int, help="of no effect: no exporter takes one")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    recipe = load_recipe(given.recipe, [f"data.path={given.data}", *given.set])
    given.out.mkdir(parents=True, exist_ok=True)
    beside, data, settings = BESIDE[given.kind], None, {}
    if beside.calibrates:
        dataset = open_dataset(recipe.data)
        images = calibration_images(dataset, recipe.quant.calibration_images, 0)
        data = ultralytics_yaml(dataclasses.replace(dataset, val_images=images), given.out / "view")
        settings = {"images": len(images)}
    export_other(
        given.weights.resolve(),
        given.out / f"best.{beside.runtime}.zip",
        beside.format,
        recipe.model.size,
        quantize=beside.quantize,
        data=data,
    )
    (given.out / "made.json").write_text(json.dumps({"settings": settings, "versions": beside.versions()}) + "\n")


if __name__ == "__main__":
    main()
