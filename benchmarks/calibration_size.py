"""How many calibration images three detectors need: curves of several draws, and what `auto` chooses beside them.

    python benchmarks/calibration_size.py bccd --weights bccd-yolo26n-320.pt --data datasets/bccd --seeds 0 1 2
    python benchmarks/calibration_size.py bccd --weights bccd-yolo26n-320.pt --data datasets/bccd --seeds 0 1 2 --map
    python benchmarks/calibration_size.py streets --seeds 0 1
    python benchmarks/calibration_size.py coco-yolo11n --weights coco-yolo11n-640.pt --data coco128.yaml --seeds 0 1

Of every seed: the curve of `edgegd calibration`, and the number that `quant.calibration_images: auto` chooses, with the
head error of its ranges (the sample of that number that begins the draw) beside the best number's and its spread. With
`--map` instead mAP of PTQ, refinement included, for auto, 128 images and 16, in onnxruntime's exact kernels, with FP32
beside. Writes benchmarks/results/calibration_size.json; a seed that is there is not measured again.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import edgegd  # noqa: F401 -- before onnxruntime, which reads the environment that it sets

# isort: split
import onnx
from peers.detect import detections, in_onnxruntime
from result_file import ResultFile

from edgegd.accuracy.bootstrap import compare
from edgegd.accuracy.evaluate import AccuracyResult, score
from edgegd.export.graph import build_graph
from edgegd.pipeline.artifacts import CALIBRATION
from edgegd.pipeline.calibration_curve import calibration_curve
from edgegd.pipeline.models import float_model, quantized_model
from edgegd.pipeline.run import run_stages
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stored import measured_truth
from edgegd.progress import Silent
from edgegd.recipe.load import parse_recipe
from edgegd.recipe.schema import AUTO_IMAGES

STREETS = (
    "model: {weights: 'shipped:models/streets-yolo26n-320.pt', imgsz: 320}\n"
    "data: {source: streets, path: %s, train_images: 240, val_images: 40}\n"
)
USERS = "model: {weights: %s, imgsz: %d}\ndata: {source: %s, path: %s, unlabelled: background}\n"


class Subject:
    """Run folders of one checkpoint and set, made as far as stage `ptq`."""

    def __init__(self, work: Path, options: argparse.Namespace) -> None:
        self.work = work
        if options.name == "streets":
            self.text = STREETS % (work / "streets")
        else:
            kind = "yaml" if options.data.endswith(".yaml") else "bccd"
            self.text = USERS % (Path(options.weights).resolve(), options.imgsz, kind, Path(options.data).resolve())

    def calibrated(self, seed: int, images: int | str) -> RunFolder:
        """A run with this seed and number of calibration images."""
        overrides = [f"train.seed={seed}", f"quant.calibration_images={images}", "target.profile=x86-vnni"]
        recipe = parse_recipe(f"version: 1\n{self.text}", overrides)
        folder = RunFolder.create(self.work / f"{seed}-{images}", recipe, "calibration_size")
        run_stages(folder, ["data", "float", "ptq"], Silent())
        return folder


def in_ort(folder: RunFolder, model: Any) -> AccuracyResult:
    """mAP of a model's exported file."""
    truth, size = measured_truth(folder), folder.recipe.model.size
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "model.onnx"
        onnx.save(build_graph(model, size, 17), file)
        network, _ = in_onnxruntime(file, "exact")
        found = detections(network, truth.image_paths, truth.names, size, folder.recipe.accuracy)
    return score(found, truth)


def maps(subject: Subject, seed: int) -> dict[str, Any]:
    """mAP50-95 of FP32, and of PTQ of each number of images with its paired difference from FP32 and its interval."""
    folder = subject.calibrated(seed, AUTO_IMAGES)
    auto = folder.read_json(CALIBRATION)["grown"]["images"]
    fp32 = in_ort(folder, float_model(folder))
    rows: dict[str, Any] = {"auto_images": auto, "images": fp32.images, "fp32": fp32.map50_95}
    for images in (16, 128, AUTO_IMAGES):
        folder = subject.calibrated(seed, images)
        own = in_ort(folder, quantized_model(folder, "ptq"))
        change = compare({"own": own.matches, "fp32": fp32.matches}, [("own", "fp32")]).differences["own", "fp32"]
        difference = change["map50_95"]
        rows[str(images)] = {
            "map50_95": own.map50_95,
            "difference": difference.value,
            "interval": [difference.low, difference.high],
        }
    return rows


def measured(subject: Subject, seed: int) -> dict[str, Any]:
    """The curve, auto's choice, and the head error of that."""
    folder = subject.calibrated(seed, AUTO_IMAGES)
    grown = folder.read_json(CALIBRATION)["grown"]
    started = time.perf_counter()
    curve = calibration_curve(folder, Silent())
    seconds = time.perf_counter() - started
    points = {point["images"]: point["head_error"] for point in curve["points"]}
    own = points[min((number for number in points if number >= grown["images"]), default=max(points))]["samples"][0]
    return {
        "curve": {key: curve[key] for key in ("images", "head_images", "head_unit", "points")},
        "outliers_found": curve["outliers_found"],
        "auto": grown,
        "auto_head_error": own,
        "curve_s": round(seconds, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }


def main() -> None:
    """Measures the seeds that are missing and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="the set's name in the table; streets draws its own images")
    parser.add_argument("--weights", help="a checkpoint that knows the set's classes")
    parser.add_argument("--data", help="a data set YAML, or BCCD's folder")
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--map", action="store_true", help="mAP of PTQ instead of the curve")
    options = parser.parse_args()
    file = ResultFile("calibration_size")
    with tempfile.TemporaryDirectory() as work:
        subject = Subject(Path(work), options)
        for seed in options.seeds:
            key = {"set": options.name, "seed": seed, "kind": "map" if options.map else "curve"}
            if file.find(**key):
                continue
            found = maps(subject, seed) if options.map else measured(subject, seed)
            file.add({**key, "imgsz": options.imgsz, **found})
            print(key, {name: value for name, value in found.items() if name != "curve"}, flush=True)


if __name__ == "__main__":
    main()
