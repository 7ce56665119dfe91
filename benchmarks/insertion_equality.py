"""Is a file that the insertion passes write the file that torch's export mode wrote? All families, all profiles.

    python benchmarks/insertion_equality.py --images FOLDER [--only yolo11n rtdetr-l]

The oracle is the last commit that had the export mode (OLD_COMMIT, unpacked into a temporary folder). There a detector
with random weights is calibrated on real images, its weights, biases and ranges are moved as training moves them, and
it is exported for every profile. Here the float graph of the same detector, with its weights of before, is quantized by
the passes from the stored plan, weights and ranges. Compared are: the bytes of all integer weights, biases and their
scales; scale and zero point at every address; the codes of every tensor and the output on real images; and the edge
file's output with the portable file's. A family is one entry of benchmarks/results/insertion_equality.json; a killed
benchmark goes on where it was.
"""

from __future__ import annotations

import edgegd  # noqa: F401 -- before onnxruntime and Ultralytics, which read the environment that it sets

# isort: split

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import safetensors.numpy
import safetensors.torch
import torch
from families import FAMILIES
from result_file import ROOT, ResultFile
from tabulate import tabulate
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel

from edgegd.detectors.deployment import deploy
from edgegd.export.edge import build_edge
from edgegd.export.float_graph import float_graph
from edgegd.export.graph_forms import constants, with_codes_as_outputs
from edgegd.export.insert.other_profile import in_profile
from edgegd.export.insert.quantized_graph import quantized_graph
from edgegd.plan.profiles import TABLES
from edgegd.plan.quant_plan import QuantPlan
from edgegd.plan.quantized_state import state_from_arrays
from edgegd.runtime.contract import Preprocessing
from edgegd.runtime.images import IMAGE_SUFFIXES, read_image
from edgegd.runtime.letterbox import preprocess
from edgegd.runtime.session import load_session
from edgegd.verify.edge_identity import require_identical
from edgegd.verify.inner_tensors import run_exposed
from edgegd.verify.opened import OnnxFile, Pictures

OLD_COMMIT = "87cfdd1"  # the last with QuantizedModel's export mode
OPSET, CALIBRATED, COMPARED = 17, 8, 3
CASES = [(family, "own") for family in FAMILIES] + [("yolov10n", "raw"), ("yolo26n", "raw")]


def imgsz_of(family: str) -> int:
    """RT-DETR has 300 queries, for which smaller images have no positions."""
    return 160 if family.startswith("rtdetr") else 128


def unpack_old_sources(folder: Path) -> None:
    """Writes the sources of OLD_COMMIT into a folder."""
    command = ["git", "archive", OLD_COMMIT, "edgegd", "benchmarks"]
    packed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")


def write_old(old: Path, family: str, head: str, images: Sequence[Path], out: Path) -> None:
    """Runs the old side in a process that imports the old sources only."""
    arguments = [family, head, imgsz_of(family), OPSET, out, *images]
    paths = {"PYTHONPATH": os.pathsep.join(map(str, (old, old / "benchmarks"))), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, ROOT / "benchmarks/insertion_oracle.py", *arguments]
    subprocess.run(list(map(str, command)), env=os.environ | paths, cwd=old, check=True)


def float_detector(family: str, head: str, state: Path) -> Any:
    """The deployed float detector that the old side stored."""
    kind = RTDETRDetectionModel if family.startswith("rtdetr") else DetectionModel
    model = deploy(kind(f"{family}.yaml", verbose=False).eval(), end2end={"own": None, "raw": False}[head])
    model.load_state_dict(safetensors.torch.load_file(state))
    return model


def integers_and_ranges(graph: onnx.GraphProto) -> dict[str, tuple[bytes, ...]]:
    """By name: (values, scale, zero point) of what DequantizeLinear and QuantizeLinear make, constants as bytes.

    A constant operand is a weight or a bias, named by the convolution and the place where it is read.
    """
    values = constants(graph)

    def as_bytes(names: Sequence[str]) -> tuple[bytes, ...]:
        return tuple(f"{values[name].dtype}".encode() + values[name].tobytes() for name in names if name in values)

    found = {node.output[0]: as_bytes(node.input[1:]) for node in graph.node if node.op_type == "QuantizeLinear"}
    made_by = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    for node in graph.node:
        if node.op_type == "Conv":
            for position, name in enumerate(node.input[1:]):
                operands = list(made_by[name].input) if name in made_by else [name]
                # QuantizeLinear and DequantizeLinear without a zero point have 0.
                found[f"{node.name}[{position + 1}]"] = as_bytes(operands[:2])
    return found


def exposed_session(path: Path) -> onnxruntime.InferenceSession:
    """A session of the file as it is, int8 activations too, with all codes as outputs."""
    file = OnnxFile(path)
    if not file.has_signed_activations:
        return file.with_codes()
    exposed = path.with_suffix(".exposed.onnx")
    onnx.save(with_codes_as_outputs(file.graph), exposed)
    return load_session(exposed, signed_activations=True)


def compare(old: Path, new: Path, inputs: Sequence[np.ndarray]) -> dict[str, Any]:
    """What is compared of two files, in numbers, and the names of what differs."""
    first, second = (integers_and_ranges(onnx.load(path).graph) for path in (old, new))
    unequal = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
    sessions = [exposed_session(path) for path in (old, new)]
    codes, compared, outputs_equal = set[str](), 0, True
    for image in inputs:
        (output, one), (other_output, other) = (run_exposed(session, image) for session in sessions)
        codes |= {name for name in one.keys() | other.keys() if not np.array_equal(one.get(name), other.get(name))}
        compared += sum(map(np.size, one.values()))
        outputs_equal &= output.tobytes() == other_output.tobytes()
    return {
        "constants": len(first),
        "unequal_constants": unequal[:10],
        "tensors": len(one),
        "codes": compared,
        "unequal_tensors": sorted(codes)[:10],
        "outputs_equal": outputs_equal,
    }


def measure_case(family: str, head: str, old: Path, images: Sequence[Path]) -> dict[str, Any]:
    """One family: its comparison for every profile."""
    size = Preprocessing(imgsz=(imgsz_of(family),) * 2)
    inputs = [preprocess(read_image(path), size)[0] for path in images[CALIBRATED : CALIBRATED + COMPARED]]
    profiles = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_old(old, family, head, images[:CALIBRATED], folder)
        plan = QuantPlan.from_json((folder / "plan.json").read_text())
        state = state_from_arrays(safetensors.numpy.load_file(folder / "trained.safetensors"), plan)
        graph = float_graph(float_detector(family, head, folder / "float.safetensors"), imgsz_of(family), OPSET)
        for profile in TABLES:
            if not (folder / f"old-{profile}.onnx").exists():  # a profile that the old side did not have
                continue
            written, before = folder / f"new-{profile}.onnx", folder / f"old-{profile}.onnx"
            proto = quantized_graph(graph, *in_profile(plan, state, profile))
            metadata = {entry.key: entry.value for entry in onnx.load(before, load_external_data=False).metadata_props}
            onnx.helper.set_model_props(proto, metadata)
            onnx.save(proto, written)
            edge = folder / f"new-{profile}.edge.onnx"
            onnx.save(build_edge(proto, written.name)[0], edge)
            pictures = Pictures(images[CALIBRATED : CALIBRATED + COMPARED])
            same = require_identical(OnnxFile(written), OnnxFile(edge), pictures)
            profiles[profile] = compare(before, written, inputs) | {"edge_numbers_equal": same.numbers}
    return {"family": family, "head": head, "imgsz": imgsz_of(family), "images": len(inputs), "profiles": profiles}


def is_equal(profile: dict[str, Any]) -> bool:
    """Whether nothing differs."""
    return not profile["unequal_constants"] and not profile["unequal_tensors"] and profile["outputs_equal"]


def table(entries: Sequence[dict[str, Any]]) -> str:
    """One line per family and profile."""
    rows = [
        [
            entry["family"], entry["head"], name, one["constants"], one["tensors"], one["codes"],
            "equal" if is_equal(one) else f"DIFFERS: {(one['unequal_constants'] + one['unequal_tensors'])[:2]}",
        ]
        for entry in entries
        for name, one in entry["profiles"].items()
    ]  # fmt: skip
    return tabulate(rows, ["family", "head", "profile", "constants", "tensors", "codes", "both ways"])


def main() -> None:
    """Measures what is missing and prints the table; ends with exit code 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=FAMILIES, help="families to compare")
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = sorted(path for path in options.images.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    results = ResultFile("insertion_equality")
    with tempfile.TemporaryDirectory() as name:
        unpack_old_sources(Path(name))
        for family, head in CASES:
            if family in options.only and not results.find(family=family, head=head):
                print(f"{family}, head {head} ...", file=sys.stderr, flush=True)
                results.add({"old_commit": OLD_COMMIT} | measure_case(family, head, Path(name), images))
    print(table(results.entries))
    if not all(is_equal(one) for entry in results.entries for one in entry["profiles"].values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
