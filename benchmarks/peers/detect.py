"""What a file detects in the validation images, in onnxruntime, OpenVINO or another runtime, in one process.

    python benchmarks/peers/detect.py FILE --recipe bccd/yolo26n --set data.path=MY/bccd --out FILE.npz

An `.xml` runs in OpenVINO, a `.RUNTIME.zip` as `edgegd latency --beside` runs it, all else in onnxruntime. Images are
prepared and outputs decoded by edgegd.runtime, whoever made the file. `--kernels exact` sums products in 32 bits or
more on every CPU (onnxruntime: exact sessions; OpenVINO on a CPU that saturates: its float kernels on the quantized
values; others: their own kernels); `own` takes the CPU's own kernels.
benchmarks/accuracy_vs_peers.py runs it and reads the file with `read_detections`.
"""

from __future__ import annotations

import edgegd  # noqa: F401 -- before onnxruntime, which reads the environment that it sets

# isort: split

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from edgegd.device.profile import SATURATING, this_machine
from edgegd.runtime.contract import ModelContract, OutputContract, Preprocessing
from edgegd.runtime.detector import Detections, detections_from_output
from edgegd.runtime.images import read_image
from edgegd.runtime.letterbox import preprocess
from edgegd.runtime.session import load_session
from edgegd.targets.other_runtime import Network, running

THREADS = 2


def in_onnxruntime(file: Path, kernels: str) -> tuple[Network, dict[str, int]]:
    """The file as a function, and how many of its convolutions run in integers in the graph optimized for this CPU."""
    import onnx

    from edgegd.verify.exact_session import load_exact

    with tempfile.TemporaryDirectory() as folder:
        optimized = Path(folder) / "optimized.onnx"
        own = load_session(file, threads=THREADS, optimized_path=optimized)
        counts = Counter(node.op_type for node in onnx.load(optimized).graph.node)
    session = own if kernels == "own" else load_exact(file, threads=THREADS)
    convs = {name: count for name, count in counts.items() if name.endswith(("Conv", "ConvInteger"))}
    name = session.get_inputs()[0].name
    return lambda image: session.run(None, {name: image})[0], {
        "int8_convs": convs.get("QLinearConv", 0) + convs.get("ConvInteger", 0),
        "convs": sum(convs.values()),
    }


def in_openvino(file: Path, kernels: str) -> tuple[Network, dict[str, int]]:
    """The same in OpenVINO's CPU plugin; float parts are float32 on every CPU."""
    import openvino

    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": THREADS,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    core = openvino.Core()
    model = core.read_model(file)
    network = own = core.compile_model(model, "CPU", settings)
    if kernels == "exact" and this_machine().profile == SATURATING:
        network = core.compile_model(_in_float(model), "CPU", settings | {"LP_TRANSFORMS_MODE": False})
    convs = [node.get_rt_info() for node in own.get_runtime_model().get_ops()]
    types = [
        str(info["runtimePrecision"].astype(str)) for info in convs if "Convolution" in info["layerType"].astype(str)
    ]
    return lambda image: network(image)[0], {
        "int8_convs": sum(kind in ("u8", "i8") for kind in types),
        "convs": len(types),
    }


def _in_float(model: Any) -> Any:
    """The model with the values of its integer constants as float32, which the plugin then does not unpack itself."""
    from openvino import opset13

    for node in model.get_ops():
        if node.get_type_name() == "Convert" and node.input_value(0).get_node().get_type_name() == "Constant":
            values = node.input_value(0).get_node().get_data()
            if values.dtype in (np.int8, np.uint8):
                node.output(0).replace(opset13.constant(values.astype(np.float32)).output(0))
    return model


def detections(
    network: Network, images: tuple[Path, ...], names: tuple[str, ...], imgsz: tuple[int, int], settings: Any
) -> list[Detections]:
    """What the network detects in each image, with the thresholds of a recipe's accuracy section."""
    preprocessing = Preprocessing(imgsz=imgsz)
    found = []
    for path in images:
        pixels, geometry = preprocess(read_image(path), preprocessing)
        output = network(pixels)
        kind = "end2end" if output.shape[2] == 6 else "raw"
        contract = ModelContract(preprocessing, OutputContract(kind, output.shape), names, stride=32)
        found.append(
            detections_from_output(
                output,
                contract,
                geometry,
                conf=settings.conf,
                iou=settings.iou,
                max_det=settings.max_det,
                multi_label=True,
                clip=False,
            )
        )
    return found


def write_detections(path: Path, found: list[Detections], facts: dict[str, Any]) -> None:
    """Stores the detections of all images in a row, their counts, and the facts as JSON."""
    np.savez_compressed(
        path,
        counts=np.array([len(one) for one in found]),
        xyxy=np.concatenate([one.xyxy for one in found]),
        scores=np.concatenate([one.scores for one in found]),
        class_ids=np.concatenate([one.class_ids for one in found]),
        facts=np.array(json.dumps(facts)),
    )


def read_detections(path: Path, names: tuple[str, ...]) -> tuple[list[Detections], dict[str, Any]]:
    """What write_detections stored."""
    with np.load(path) as stored:
        ends = np.cumsum(stored["counts"])[:-1]
        parts = (np.split(stored[name], ends) for name in ("xyxy", "scores", "class_ids"))
        return [Detections(*part, names) for part in zip(*parts, strict=True)], json.loads(str(stored["facts"]))


def main() -> None:
    """Runs what the command line names."""
    from edgegd.data.dataset import open_dataset
    from edgegd.recipe.load import load_recipe

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="other values of the recipe")
    parser.add_argument("--kernels", choices=("exact", "own"), default="exact")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe, arguments.set)
    dataset = open_dataset(recipe.data)
    images = dataset.val_images[: recipe.accuracy.images or None]
    if arguments.file.suffix == ".zip":
        runtime = arguments.file.suffixes[-2].removeprefix(".")
        with running(arguments.file, runtime, THREADS) as network:
            found = detections(network, images, dataset.names, recipe.model.size, recipe.accuracy)
        census: dict[str, int] = {}
    else:
        opened = in_openvino if arguments.file.suffix == ".xml" else in_onnxruntime
        network, census = opened(arguments.file, arguments.kernels)
        found = detections(network, images, dataset.names, recipe.model.size, recipe.accuracy)
    write_detections(arguments.out, found, census)


if __name__ == "__main__":
    main()
