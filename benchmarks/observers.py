"""What each observer costs in mAP: PTQ of one detector with every observer, beside FP32, under fake quantization.

    python benchmarks/observers.py --weights bccd-yolo26n-320.pt --data datasets/bccd

One pass over 128 training images serves all observers. Everything runs in torch on the CPU, with the runtime's own
pre- and postprocessing, on all validation images. Writes benchmarks/results/observers.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

from edgegd.accuracy.evaluate import AccuracyResult, score
from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.data.calibration import batches, calibration_images
from edgegd.data.dataset import open_dataset
from edgegd.descent.float_checkpoint import open_checkpoint
from edgegd.latency.fingerprint import parse_cpuinfo
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import Range, choose_ranges, collect, set_ranges
from edgegd.quant.folding import deploy, detection_head, plan_detector
from edgegd.recipe.schema import DataSection
from edgegd.runtime.contract import ModelContract, OutputContract, Preprocessing
from edgegd.runtime.detector import detections_from_output
from edgegd.runtime.images import read_image
from edgegd.runtime.letterbox import preprocess

ROOT = Path(__file__).resolve().parents[1]
ROWS = [("minmax", 99.99), ("percentile", 99.9), ("percentile", 99.99), ("percentile", 99.999), ("mse", 99.99),
        ("entropy", 99.99), ("auto", 99.99)]  # fmt: skip
CALIBRATION_IMAGES, BATCH = 128, 8


@torch.no_grad()
def evaluate(model: torch.nn.Module, detector: Any, truth: GroundTruth, size: Preprocessing) -> AccuracyResult:
    """mAP of `model` in torch; `detector` is the deployed model inside it."""
    names = tuple(detector.names[index] for index in sorted(detector.names))
    kind = "end2end" if detection_head(detector).end2end else "raw"
    found, paths = [], truth.image_paths
    for start in range(0, len(paths), BATCH):
        prepared = [preprocess(read_image(path), size) for path in paths[start : start + BATCH]]
        outputs = model(torch.from_numpy(np.concatenate([pixels for pixels, _ in prepared]))).numpy()
        contract = ModelContract(size, OutputContract(kind, (1, *outputs.shape[1:])), names, int(detector.stride.max()))
        for output, (_, geometry) in zip(outputs, prepared, strict=True):
            found.append(detections_from_output(output[None], contract, geometry, conf=0.001, iou=0.7, max_det=300,
                                                multi_label=True, clip=False))  # fmt: skip
    return score(found, truth)


def summary(ranges: dict[str, Range]) -> dict[str, Any]:
    """Median and least SQNR over all tensors, and how many groups each observer chose."""
    ratios = {address: ratio for chosen in ranges.values() for address, ratio in chosen.tensors.items()}
    worst = min(ratios, key=ratios.__getitem__)
    return {"median_sqnr_db": round(median(ratios.values()), 2), "least_sqnr_db": round(ratios[worst], 2),
            "least_sqnr_tensor": worst, "chosen_by": dict(Counter(r.observer for r in ranges.values()))}  # fmt: skip


def main() -> None:
    """Evaluates every row, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="a checkpoint that knows BCCD's classes")
    parser.add_argument("--data", required=True, help="the folder of BCCD")
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--out", default=str(ROOT / "benchmarks/results/observers.json"))
    options = parser.parse_args()
    size = Preprocessing(imgsz=(options.imgsz, options.imgsz))
    dataset = open_dataset(DataSection(source="bccd", path=options.data))
    truth = GroundTruth.from_yolo(list(dataset.val_images), dataset.names)
    model: Any = deploy(open_checkpoint(Path(options.weights)))
    quantized = QuantizedModel(model, plan_detector(model, options.imgsz, "x86-vnni")).eval()
    paths = calibration_images(dataset, CALIBRATION_IMAGES, seed=0)
    started = time.perf_counter()
    histograms = collect(quantized, map(torch.from_numpy, batches(paths, size, 4)))
    collect_s = time.perf_counter() - started
    fp32 = evaluate(model, model, truth, size)
    results: list[dict[str, Any]] = [{"observer": "FP32", "map50_95": fp32.map50_95, "map50": fp32.map50}]
    for observer, percentile in ROWS:
        started = time.perf_counter()
        ranges = choose_ranges(quantized.plan, histograms, observer, percentile)
        choose_s = time.perf_counter() - started
        set_ranges(quantized, ranges)
        accuracy = evaluate(quantized, model, truth, size)
        label = f"percentile {percentile}" if observer == "percentile" else observer
        results.append({"observer": label, "map50_95": accuracy.map50_95, "map50": accuracy.map50,
                        "choose_s": round(choose_s, 2), **summary(ranges)})  # fmt: skip
        print(results[-1], flush=True)
    rows = [[r["observer"], f"{100 * r['map50_95']:.2f}", f"{100 * (r['map50_95'] - fp32.map50_95):+.2f}",
             f"{100 * r['map50']:.2f}", r.get("median_sqnr_db", ""), r.get("least_sqnr_db", ""), r.get("choose_s", "")]
            for r in results]  # fmt: skip
    machine = {"cpu": parse_cpuinfo(Path("/proc/cpuinfo").read_text()).name, "torch": torch.__version__,
               "threads": torch.get_num_threads()}  # fmt: skip
    print(machine)
    print(f"{len(paths)} calibration images in {collect_s:.0f} s, {len(truth.image_paths)} validation images")
    headers = ["observer", "mAP50-95", "to FP32", "mAP50", "median SQNR dB", "least SQNR dB", "choosing s"]
    print(tabulate(rows, headers, disable_numparse=True))
    document = {"schema": 1, "date": datetime.now(timezone.utc).date().isoformat(), "machine": machine,
                "weights": Path(options.weights).name, "imgsz": options.imgsz, "images": len(truth.image_paths),
                "calibration_images": len(paths), "collect_s": round(collect_s, 1), "results": results}  # fmt: skip
    Path(options.out).write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
