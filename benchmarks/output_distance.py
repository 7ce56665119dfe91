"""How far the outputs of quantized files are from the float file's: what mAP of a hundred images cannot tell.

    PEERS/bin/python benchmarks/output_distance.py --work WORK/coco-yolo11n --data coco128/coco128.yaml --imgsz 640

WORK holds the files that accuracy_vs_peers.py made of one set. Of every file with a raw output (1, 4 + classes, N), on
the validation images: the Kullback-Leibler divergence of all class scores from the float file's over the total of the
float file's best scores, in nats, and the mean distance of box sides weighted by them, in px; geometric means over the
images. Files run in onnxruntime or OpenVINO, in this CPU's own kernels. Writes benchmarks/results/output_distance.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edgegd  # noqa: F401 -- before onnxruntime, which reads the environment that it sets

# isort: split
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from result_file import ResultFile
from tabulate import tabulate

from edgegd.data.dataset import open_dataset
from edgegd.recipe.schema import DataSection
from edgegd.runtime.contract import Preprocessing
from edgegd.runtime.images import read_for
from edgegd.runtime.letterbox import preprocess

REFERENCE = "ultralytics-fp32-0/best.onnx"
SMALLEST = 1e-7  # of a score: below it a float32 sigmoid says nothing
Array = NDArray[np.float64]
Run = Callable[[NDArray[np.float32]], Array]


def opened(path: Path) -> Run:
    """The file as a function of a batch of one image."""
    if path.suffix == ".xml":
        import openvino

        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        compiled: Any = openvino.Core().compile_model(path, "CPU", settings)
        return lambda x: np.asarray(compiled([x])[compiled.output(0)][0], np.float64)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: np.asarray(session.run(None, {name: x})[0][0], np.float64)


def distance(found: Array, wanted: Array) -> tuple[float, float]:
    """Divergence of scores in nats and distance of boxes in px of one image's outputs (4 + classes, N)."""
    p, q = (np.clip(output[4:], SMALLEST, 1 - SMALLEST) for output in (wanted, found))
    belief = p.max(0)
    divergence = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum()
    apart = np.abs(found[:4] - wanted[:4]).mean(0) * belief
    return float(divergence / belief.sum()), float(apart.sum() / belief.sum())


def main() -> None:
    """Compares all files of the folder, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--data", required=True, help="a data set YAML")
    parser.add_argument("--imgsz", type=int, default=640)
    options = parser.parse_args()
    size = Preprocessing(imgsz=(options.imgsz, options.imgsz))
    images = open_dataset(DataSection(source="yaml", path=options.data)).val_images
    files = {
        path.relative_to(options.work).as_posix(): path
        for kind in ("best.onnx", "ptq.onnx", "best.xml")
        for path in sorted(options.work.glob(f"*/{kind}"))
    }
    runs = {name: opened(path) for name, path in files.items()}
    reference = runs.pop(REFERENCE)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for image in images:
        x, _ = preprocess(read_for(image, size), size)
        wanted = reference(x)
        for name, run in runs.items():
            found[name].append(distance(run(x), wanted))
    results = ResultFile("output_distance")
    results.drop(lambda entry: entry["set"] == options.work.name)
    rows = []
    for name, distances in found.items():
        scores, boxes = np.exp(np.log(np.maximum(distances, 1e-12)).mean(0)).tolist()
        results.add(
            {
                "set": options.work.name,
                "file": name,
                "images": len(images),
                "scores_nats": round(scores, 5),
                "boxes_px": round(boxes, 4),
            }
        )
        rows.append([name, f"{scores:.4f}", f"{boxes:.3f}"])
    print(tabulate(rows, ["file", "scores, nats", "boxes, px"], tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
