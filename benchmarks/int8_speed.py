"""INT8 against FP32 in onnxruntime, one thread, at 320 and 640 px: edgegd's files beside Ultralytics' FP32 export.

    python benchmarks/int8_speed.py

Latency depends on the graph, not on the weights' values, so YOLO11n and YOLOv8n run with random weights. All files of a
model are measured in one run, in alternating blocks of fresh processes. Writes benchmarks/results/int8_speed.json.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import onnx
import torch
from tabulate import tabulate
from ultralytics import YOLO
from ultralytics.utils import LOGGER

from edgegd.data.streets import render_scene
from edgegd.export.census import require_planned, take_census
from edgegd.export.graph import build_graph
from edgegd.export.metadata import contract_of, set_metadata
from edgegd.latency.measure import measure
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate
from edgegd.quant.folding import deploy, plan_detector
from edgegd.recipe.schema import LatencySection
from edgegd.runtime.contract import Preprocessing
from edgegd.runtime.letterbox import preprocess
from edgegd.targets.local import LocalTarget

ROOT = Path(__file__).resolve().parents[1]
MODELS = {"yolo26n": str(ROOT / "models/streets-yolo26n-320.pt"), "yolo11n": "yolo11n.yaml", "yolov8n": "yolov8n.yaml"}
SETTINGS = LatencySection(threads=1, spinning=False, launches=3, blocks=8, block_s=0.5)
OPSET = 17


def export(weights: str, imgsz: int, folder: Path) -> tuple[dict[str, Path], dict[str, int]]:
    """The three files of one model, and the census of the INT8 one."""
    ours = YOLO(weights, task="detect").model
    checkpoint = folder / "model.pt"  # Ultralytics exports beside the checkpoint
    torch.save({"model": copy.deepcopy(ours)}, checkpoint)
    exported = Path(YOLO(checkpoint).export(format="onnx", imgsz=imgsz, simplify=False, opset=OPSET))
    model = deploy(ours)
    plan = plan_detector(model, imgsz, "x86-vnni")
    quantized = QuantizedModel(model, plan)
    scenes = [render_scene(np.random.default_rng(seed)).image for seed in range(4)]
    size = Preprocessing(imgsz=(imgsz, imgsz))
    calibrate(quantized, (torch.from_numpy(preprocess(scene, size)[0]) for scene in scenes), "minmax")
    for variant, module in (("fp32", model), ("ptq", quantized)):
        graph = build_graph(module, plan, imgsz, OPSET)
        set_metadata(graph, model, contract_of(graph, model, imgsz, variant, plan.sha256 if variant == "ptq" else ""))
        onnx.save(graph, folder / f"{variant}.onnx")
    census = take_census(folder / "ptq.onnx", plan)
    require_planned(census, plan, "ptq.onnx")
    files = {"edgegd fp32": folder / "fp32.onnx", "ultralytics fp32": exported, "edgegd int8": folder / "ptq.onnx"}
    counts = {"int8": census.int8_convs, "float": census.float_convs, "planned float": census.planned_float_convs}
    return files, counts


def main() -> None:
    """Measures every model at both sizes, prints the table and writes the JSON."""
    LOGGER.setLevel(logging.ERROR)
    rows, results = [], []
    for imgsz in (320, 640):
        for name, weights in MODELS.items():
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
                files, census = export(weights, imgsz, Path(folder))
                result = measure(files, SETTINGS, LocalTarget()).to_json()
            result.pop("blocks")
            results.append({"model": name, "imgsz": imgsz, "census": census, **result})
            for label, latency in result["models"].items():
                rows.append([name, imgsz, label, f"{latency['median_ms']:.2f}", f"{latency['p90_ms']:.2f}",
                             f"{latency['speedup_vs_fp32']:.2f}",
                             f"{latency['speedup_low']:.2f}-{latency['speedup_high']:.2f}"])  # fmt: skip
    machine = results[0]["fingerprint"]
    print(f"{machine['cpu']}, onnxruntime {machine['onnxruntime']}, {SETTINGS.threads} thread, spinning off")
    headers = ["model", "px", "file", "median ms", "p90 ms", "x FP32", "95 %"]
    print(tabulate(rows, headers, disable_numparse=True))
    out = ROOT / "benchmarks/results/int8_speed.json"
    out.parent.mkdir(exist_ok=True)
    date = datetime.now(timezone.utc).date().isoformat()
    out.write_text(json.dumps({"schema": 1, "date": date, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
