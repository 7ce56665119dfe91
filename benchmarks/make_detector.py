"""The files of one detector whose latency is measured: float, INT8 portable and INT8 edge, of SiLU, ReLU and a mixture.

    python benchmarks/make_detector.py yolo26n --imgsz 640 --out FOLDER [--auto RUN/activation.json]

Latency depends on the graph, not on the values of the weights, so those are random, and there are 80 classes; or MODEL
is a checkpoint. Calibrated on drawn street scenes. Writes into FOLDER `float.pt`, `fp32.onnx`, and for each activation
`silu.onnx` (portable) and `silu.edge.onnx`, `relu.onnx` and so on; at last `made.json`, which marks it complete. The
benchmarks run it in a subprocess, which leaves no memory of torch behind. The INT8 files are for the profile of this
CPU, or for `--profile`.
"""

from __future__ import annotations

import edgegd  # noqa: F401 -- before onnxruntime and Ultralytics, which read the environment that it sets

# isort: split

import argparse
import copy
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import torch
from families import random_detector
from ultralytics import YOLO

from edgegd.data.streets import render_scene
from edgegd.detectors.activation_swap import silu_paths, swap_to_relu
from edgegd.detectors.deployment import deploy, input_channels, plan_detector
from edgegd.device.profile import this_machine
from edgegd.export.edge import build_edge
from edgegd.export.graph import build_graph
from edgegd.export.metadata import contract_of, set_metadata
from edgegd.network_size import NetworkSize, network_size
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate
from edgegd.quant.consistent_ranges import settle_ranges
from edgegd.recipe.schema import PROFILES
from edgegd.runtime.contract import Preprocessing
from edgegd.runtime.letterbox import preprocess

OPSET = 17
PROFILE = this_machine().profile or "x86-vnni"  # latency is that of files made for the CPU that is measured
SCENES = 4
STATISTICS_IMGSZ = 320  # of the images whose statistics the BatchNorms of random weights get


def scenes(size: NetworkSize, channels: int = 3) -> list[torch.Tensor]:
    """Drawn street scenes as network inputs (1, C, *size) of 1 or 3 channels."""
    wanted = Preprocessing.of_images(size, channels)
    images = [render_scene(np.random.default_rng(seed)).image for seed in range(SCENES)]
    if channels == 1:
        images = [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None] for image in images]
    return [torch.from_numpy(preprocess(image, wanted)[0]) for image in images]


def float_detector(model: str, channels: int = 3) -> Any:
    """The checkpoint's float model, or that of an architecture with random weights."""
    if model.endswith(".pt"):
        return YOLO(model, task="detect").model.float()
    return random_detector(model, torch.cat(scenes(network_size(STATISTICS_IMGSZ), channels)))


def portable(model: Any, size: NetworkSize, variant: str, profile: str) -> onnx.ModelProto:
    """The portable file of a deployed model, `fp32`, or `ptq`, which calibrates it."""
    plan = plan_detector(model, size, profile)
    module = model
    if variant == "ptq":
        module = QuantizedModel(model, plan)
        calibrate(module, iter(scenes(size, input_channels(model))), "minmax")
        settle_ranges(module)
        module.eval()
    graph = build_graph(module, size, OPSET)
    origin = (plan.sha256, plan.profile) if variant == "ptq" else ("", "")
    set_metadata(graph, model, contract_of(graph, model, size, variant, *origin))
    return graph


def make(
    detector: Any, size: NetworkSize, swaps: dict[str, Collection[str]], end2end: bool, out: Path, profile: str
) -> None:
    """Writes all files; `swaps` has, for each activation's name, the paths of the SiLUs that become ReLUs."""
    out.mkdir(parents=True, exist_ok=True)
    torch.save({"model": copy.deepcopy(detector)}, out / "float.pt")
    onnx.save(portable(deploy(copy.deepcopy(detector), end2end=end2end), size, "fp32", profile), out / "fp32.onnx")
    for name, paths in swaps.items():
        swapped = copy.deepcopy(detector)
        swap_to_relu(swapped, paths)
        file = out / f"{name}.onnx"
        onnx.save(portable(deploy(swapped, end2end=end2end), size, "ptq", profile), file)
        onnx.save(build_edge(onnx.load(file), file.name)[0], out / f"{name}.edge.onnx")
    (out / "made.json").write_text(json.dumps({name: sorted(paths) for name, paths in swaps.items()}) + "\n")


def main() -> None:
    """Makes what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="an architecture, such as yolo26n, or a checkpoint")
    parser.add_argument("--imgsz", default="640", help="side of a square, or HEIGHTxWIDTH, in px")
    parser.add_argument("--channels", type=int, choices=(1, 3), default=3, help="of an architecture's images")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--auto", type=Path, help="activation.json of a run with quant.activation auto")
    parser.add_argument("--end2end", action="store_true", help="the head that needs no NMS, of YOLOv10 and YOLO26")
    parser.add_argument("--profile", choices=PROFILES, default=PROFILE, help="of the INT8 files  [this CPU's]")
    parser.add_argument("--only", choices=("silu", "relu"), help="make the files of this activation only")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    detector = float_detector(arguments.model, arguments.channels)
    swaps: dict[str, Collection[str]] = {"silu": (), "relu": silu_paths(detector)}
    if arguments.only:
        swaps = {arguments.only: swaps[arguments.only]}
    if arguments.auto:
        swaps["auto"] = json.loads(arguments.auto.read_text())["relu"]
    sides = [int(side) for side in arguments.imgsz.split("x")]
    size = network_size(sides if len(sides) > 1 else sides[0])
    make(detector, size, swaps, arguments.end2end, arguments.out, arguments.profile)


if __name__ == "__main__":
    main()
