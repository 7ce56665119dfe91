"""A float detector as files of ncnn and MNN, by their own converters: in an environment with ncnn, pnnx and MNN.

    python benchmarks/arm/export_peers.py float.pt --imgsz 320 --activation relu --out FOLDER

Ultralytics exports for ncnn (`yolo export format=ncnn`). MNN's converter reads our float ONNX file, of the same raw
head: once in float, once with weights of 8 bits (`--weightQuantBits 8`, what Ultralytics' `quantize=8` does).
"""

from __future__ import annotations

import edgegd  # noqa: F401 -- before Ultralytics, which reads the environment that it sets

# isort: split

import argparse
import copy
import sys
from pathlib import Path

import onnx
import torch
from ultralytics import YOLO

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from make_detector import PROFILE, portable

from edgegd.detectors.activation_swap import silu_paths, swap_to_relu
from edgegd.detectors.deployment import deploy
from edgegd.network_size import network_size


def main() -> None:
    """Writes `model.ncnn.param` and `.bin`, `float.mnn` and `weights8.mnn` into the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--imgsz", type=int, required=True)
    parser.add_argument("--activation", choices=("silu", "relu"), required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    out, size = arguments.out, network_size(arguments.imgsz)
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    detector = torch.load(arguments.weights, weights_only=False)["model"]  # ours: make_detector.py wrote it
    if arguments.activation == "relu":
        swap_to_relu(detector, silu_paths(detector))
    torch.save({"model": copy.deepcopy(detector)}, out / "float.pt")
    onnx.save(portable(deploy(detector, end2end=False), size, "fp32", PROFILE), out / "float.onnx")
    exported = Path(YOLO(out / "float.pt", task="detect").export(format="ncnn", imgsz=arguments.imgsz))
    for name in ("model.ncnn.param", "model.ncnn.bin"):
        (exported / name).replace(out / name)

    import _tools  # MNN's converter itself; MNN.tools.mnnconvert would install a client for its telemetry by pip

    for name, options in (("float.mnn", ()), ("weights8.mnn", ("--weightQuantBits", "8"))):
        files = ("--modelFile", str(out / "float.onnx"), "--MNNModel", str(out / name))
        _tools.mnnconvert(["", "-f", "ONNX", *files, "--bizCode", "{}", *options])


if __name__ == "__main__":
    main()
