"""What each observer costs in mAP: PTQ of one detector with every observer, beside FP32, under fake quantization.

    python benchmarks/observers.py --weights bccd-yolo26n-320.pt --data datasets/bccd

One pass over 128 training images serves all observers; three such samples show how much the choice of images weighs.
Everything runs in torch on the CPU, with the runtime's own pre- and postprocessing, on all validation images. Writes
benchmarks/results/observers.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

from edgegd.accuracy.evaluate import AccuracyResult, score
from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.data.calibration import batches, calibration_images
from edgegd.data.dataset import open_dataset
from edgegd.detectors.deployment import deploy, detection_head, plan_detector
from edgegd.detectors.float_checkpoint import open_checkpoint
from edgegd.device.fingerprint import parse_cpuinfo
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import collect, set_ranges
from edgegd.quant.ranges import Range, choose_ranges
from edgegd.recipe.schema import DataSection
from edgegd.runtime.contract import ModelContract, OutputContract, Preprocessing
from edgegd.runtime.detector import detections_from_output
from edgegd.runtime.images import read_image
from edgegd.runtime.letterbox import preprocess

ROOT = Path(__file__).resolve().parents[1]
ROWS = [
    ("minmax", 99.99),
    ("percentile", 99.9),
    ("percentile", 99.99),
    ("percentile", 99.999),
    ("mse", 99.99),
    ("entropy", 99.99),
    ("auto", 99.99),
]
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
            found.append(
                detections_from_output(
                    output[None], contract, geometry, conf=0.001, iou=0.7, max_det=300, multi_label=True, clip=False
                )
            )
    return score(found, truth)


def summary(ranges: dict[str, Range]) -> dict[str, Any]:
    """Median and least SQNR over all tensors, and how many groups each observer chose."""
    ratios = {address: ratio for chosen in ranges.values() for address, ratio in chosen.tensors.items()}
    worst = min(ratios, key=ratios.__getitem__)
    return {
        "median_sqnr_db": round(median(ratios.values()), 2),
        "least_sqnr_db": round(ratios[worst], 2),
        "least_sqnr_tensor": worst,
        "chosen_by": dict(Counter(r.observer for r in ranges.values())),
    }


def main() -> None:
    """Evaluates every row for every sample of calibration images, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="a checkpoint that knows BCCD's classes")
    parser.add_argument("--data", required=True, help="the folder of BCCD")
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--seeds", type=int, default=3, help="samples of calibration images")
    options = parser.parse_args()
    size = Preprocessing(imgsz=(options.imgsz, options.imgsz))
    dataset = open_dataset(DataSection(source="bccd", path=options.data))
    truth = GroundTruth.from_yolo(list(dataset.val_images), dataset.names)
    model: Any = deploy(open_checkpoint(Path(options.weights)))
    quantized = QuantizedModel(model, plan_detector(model, options.imgsz, "x86-vnni")).eval()
    fp32 = evaluate(model, model, truth, size)
    results: dict[str, list[dict[str, Any]]] = {}
    collect_s = []
    for seed in range(options.seeds):
        paths = calibration_images(dataset, CALIBRATION_IMAGES, seed)
        started = time.perf_counter()
        histograms = collect(quantized, map(torch.from_numpy, batches(paths, size, 4)))
        collect_s.append(round(time.perf_counter() - started, 1))
        for observer, percentile in ROWS:
            started = time.perf_counter()
            ranges = choose_ranges(quantized.plan, histograms, observer, percentile)
            choose_s = time.perf_counter() - started
            set_ranges(quantized, ranges)
            accuracy = evaluate(quantized, model, truth, size)
            label = f"percentile {percentile}" if observer == "percentile" else observer
            row = {"map50_95": accuracy.map50_95, "map50": accuracy.map50, "choose_s": round(choose_s, 2)}
            results.setdefault(label, []).append(row | summary(ranges))
            print(f"seed {seed}, {label}: {100 * accuracy.map50_95:.2f}", flush=True)
    machine = {
        "cpu": parse_cpuinfo(Path("/proc/cpuinfo").read_text()).name,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    print(machine)
    print(f"{CALIBRATION_IMAGES} calibration images in {median(collect_s)} s, mAP on {len(truth.image_paths)} images")
    rows = [["FP32", f"{100 * fp32.map50_95:.2f}", "", "", f"{100 * fp32.map50:.2f}"]]
    for label, runs in results.items():
        maps = [run["map50_95"] for run in runs]
        rows.append(
            [
                label,
                f"{100 * mean(maps):.2f}",
                f"{100 * min(maps):.2f} .. {100 * max(maps):.2f}",
                f"{100 * (mean(maps) - fp32.map50_95):+.2f}",
                f"{100 * mean(run['map50'] for run in runs):.2f}",
                *(median(run[key] for run in runs) for key in ("median_sqnr_db", "least_sqnr_db", "choose_s")),
            ]
        )
    headers = ["observer", "mAP50-95", "seeds", "to FP32", "mAP50", "median SQNR dB", "least SQNR dB", "choosing s"]
    print(tabulate(rows, headers, disable_numparse=True))
    document = {
        "schema": 1,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": machine,
        "weights": Path(options.weights).name,
        "imgsz": options.imgsz,
        "images": len(truth.image_paths),
        "calibration_images": CALIBRATION_IMAGES,
        "collect_s": collect_s,
        "fp32": {"map50_95": fp32.map50_95, "map50": fp32.map50},
        "observers": results,
    }
    (ROOT / "benchmarks/results/observers.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
