"""Latency of edgegd's files beside their peers': other quantizers' files in onnxruntime, and other runtimes.

    python benchmarks/latency_vs_peers.py --peer-python PEERS/bin/python --auto yolo26n=RUN/activation.json
    python benchmarks/latency_vs_peers.py ... --models yolo26n --sizes 640 --launches 15 --form end2end
    python benchmarks/latency_vs_peers.py ... --runtimes --models yolo26n yolo11n

PEERS is an environment with edgegd[train,bench]. All files of a detector have the same random weights and 80 classes.
Each launch runs all of them in fresh processes, one at a time, in alternating blocks, first on one thread, then on all
(the other way round in every other launch); it is an entry of benchmarks/results/latency_vs_peers/CPU-PROFILE.json, so
a killed benchmark goes on where it was, and more launches can be added later. OpenVINO, at float32, runs Ultralytics'
FP32 file and edgegd's portable INT8 files. edgegd's files are those of the profile of this CPU. Files are made once
into --work and kept; where WORK/*/made.json is removed, edgegd's are made anew. Launches of files that changed are
measured anew.

With --runtimes, FP32 in onnxruntime and edgegd's edge files run beside OpenVINO, ncnn, MNN and LiteRT, each with its
own defaults (OpenVINO: bfloat16 where the CPU has it) and the files that Ultralytics exports for it; LiteRT's need
`pip install litert-torch ai-edge-quantizer`, INT8 in OpenVINO `pip install nncf`, and what is absent is left out. Their
results lie in benchmarks/results/latency_vs_runtimes/. accuracy_vs_peers.py has the mAP of these files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml
from detectors import made
from interleaved import measure_launch, median_ms, missing, ratio, ratio_of_launches, require_same_files
from peers.target import PeerTarget
from result_file import ROOT, ResultFile
from tabulate import tabulate

from edgegd.data.streets import make_streets
from edgegd.pipeline.beside import BESIDE
from edgegd.recipe.schema import LatencySection

MODELS, SIZES = ("yolo26n", "yolo11n", "yolov8n", "yolo26s"), (320, 640)
THREADS = tuple(sorted({1, len(os.sched_getaffinity(0))}))
PEERS = ("ultralytics-fp32", "ultralytics-ptq", "ultralytics-qat", "onnxruntime-minmax")
REFERENCE, QAT = PEERS[0], "ultralytics-qat"
CLASSES, IMAGES = 80, 4  # images that peers calibrate on, or train on for the one step that a QAT file needs
EDGE_FILES = ("edgegd-silu-edge", "edgegd-relu-edge")
OTHERS = sorted({package for beside in BESIDE.values() for package in beside.packages})
ASK_PEERS = f"""import json, importlib.metadata as m
found = {{d.metadata["Name"].lower().replace("_", "-"): d.version for d in m.distributions()}}
names = {("nvidia-modelopt", "onnxslim", "ultralytics", "torch", *OTHERS)!r}
print(json.dumps({{p: found[p] for p in names if p in found}}))"""


def drawn_set(folder: Path) -> Path:
    """A data set of drawn scenes whose YAML names as many classes as the detectors have."""
    make_streets(folder / "streets", train=IMAGES, val=IMAGES)
    described = {
        "path": str(folder / "streets"),
        "train": "images/train",
        "val": "images/val",
        "names": {index: str(index) for index in range(CLASSES)},
    }
    path = folder / "set.yaml"
    path.write_text(yaml.safe_dump(described))
    return path


def peer_file(peer: str, weights: Path, imgsz: int, form: str, folder: Path, arguments: argparse.Namespace) -> Path:
    """The peer's ONNX file of the checkpoint; made in the peers' environment where it does not exist."""
    if not (folder / "made.json").exists():
        print(f"making the file of {peer} ...", file=sys.stderr, flush=True)
        settings = {
            "data.source": "yaml",
            "model.imgsz": imgsz,
            "train.epochs": 1,
            "train.batch": IMAGES,
            "quant.calibration_images": IMAGES,
        }
        overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        command = [
            arguments.peer_python,
            str(ROOT / "benchmarks/peers/make_onnx.py"),
            peer,
            "--weights",
            str(weights),
            "--data",
            str(drawn_set(arguments.work)),
            "--out",
            str(folder),
            *overrides,
            *(["--end2end"] if form == "end2end" else []),
        ]
        subprocess.run(command, check=True, stdout=sys.stderr, env=os.environ | {"PYTHONPATH": str(ROOT)})
    return folder / "best.onnx"


def other_file(name: str, weights: Path, imgsz: int, form: str, folder: Path, arguments: argparse.Namespace) -> Path:
    """The file of another runtime of the checkpoint, as `edgegd latency --beside` makes it."""
    out, beside = folder / f"{name}.zip", BESIDE[name]
    if not out.exists():
        print(f"making the file of {name} ...", file=sys.stderr, flush=True)
        made_now = out.with_name("partial.zip")
        command = [arguments.peer_python, "-m", "edgegd.detectors.other_export", str(weights), str(made_now)]
        command += ["--format", beside.format, "--imgsz", str(imgsz), str(imgsz)]
        command += ["--quantize", str(beside.quantize)] if beside.quantize else []
        command += ["--data", str(drawn_set(arguments.work))] if beside.calibrates else []
        command += ["--end2end"] if form == "end2end" else []
        subprocess.run(command, check=True, stdout=sys.stderr, env=os.environ | {"PYTHONPATH": str(ROOT)})
        made_now.replace(out)
    return out


def files_of(
    model: str, imgsz: int, form: str, arguments: argparse.Namespace, installed: Collection[str]
) -> tuple[dict[str, Path], dict[str, str]]:
    """Every file of a detector by its row's name, the first being the reference, and the runtimes of other ones."""
    ours = made(
        model, imgsz, arguments.work / f"{model}-{form}-{imgsz}", arguments.auto.get(model), end2end=form == "end2end"
    )
    peers = PEERS[:1] if arguments.runtimes else PEERS
    files = {peer: peer_file(peer, ours / "float.pt", imgsz, form, ours / peer, arguments) for peer in peers}
    activations = list(json.loads((ours / "made.json").read_text()))
    edge = {f"edgegd-{name}-edge": ours / f"{name}.edge.onnx" for name in activations}
    if arguments.runtimes:
        names = [name for name, beside in BESIDE.items() if beside.packages <= set(installed)]
        others = {name: other_file(name, ours / "float.pt", imgsz, form, ours, arguments) for name in names}
        return files | edge | others, {name: BESIDE[name].runtime for name in names}
    in_openvino = {"openvino-fp32": files[REFERENCE]}
    in_openvino |= {f"openvino-{name}": ours / f"{name}.onnx" for name in activations}
    files |= in_openvino | {f"edgegd-{name}": ours / f"{name}.onnx" for name in activations}
    return files | edge, dict.fromkeys(in_openvino, "openvino-f32")


def measure_detector(results: ResultFile, detector: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Measures the launches of a detector that are missing, on every number of threads in turn."""
    asked = subprocess.run([arguments.peer_python, "-c", ASK_PEERS], check=True, capture_output=True, text=True)
    installed = json.loads(asked.stdout)
    files, runtimes = files_of(**detector, arguments=arguments, installed=installed)
    hashes = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
    require_same_files(results, detector, hashes)
    versions = {f"peers' {name}": version for name, version in installed.items()}
    for launch in range(arguments.launches):
        for threads in THREADS if launch % 2 == 0 else THREADS[::-1]:
            key = {**detector, "threads": threads, "spinning": arguments.spinning}
            if launch not in missing(results, key, arguments.launches):
                continue
            settings = LatencySection(
                threads=threads, spinning=arguments.spinning, quads=arguments.quads, block_s=arguments.block_s
            )
            measure_launch(
                results,
                {**key, "launch": launch},
                files,
                settings,
                PeerTarget(arguments.peer_python),
                packages=versions,
                runtimes=runtimes,
            )


def table(results: ResultFile) -> str:
    """A line a detector, size, threads and file: time, ratios to Ultralytics' FP32 and QAT, and of threads."""
    lines = []
    keys = ("model", "form", "imgsz", "spinning", "threads")
    for group in dict.fromkeys(tuple(entry[name] for name in keys) for entry in results.entries):
        key = dict(zip(keys, group, strict=True))
        entries, on_one, threads = results.find(**key), results.find(**{**key, "threads": 1}), key["threads"]
        for name in entries[0]["files"]:
            times, low, high = ratio(entries, REFERENCE, name)
            scaling = f"{ratio_of_launches(on_one, entries, name):.2f}" if threads > 1 and on_one else ""
            lines.append(
                [
                    *group,
                    name,
                    f"{median_ms(entries, name):.2f}",
                    f"{times:.2f}",
                    f"{low:.2f}-{high:.2f}",
                    f"{ratio(entries, QAT, name)[0]:.2f}" if QAT in entries[0]["files"] else "",
                    scaling,
                    openvino_ratio(entries, name),
                    *(edge_ratio(entries, edge, name) for edge in EDGE_FILES),
                    len(entries),
                ]
            )
    headers = [
        "model",
        "form",
        "px",
        "spinning",
        "threads",
        "file",
        "ms",
        "x FP32",
        "95 %",
        "x QAT",
        "x 1 thread",
        "ms / OpenVINO",
        "silu edge is faster",
        "relu edge is faster",
        "launches",
    ]
    return tabulate(lines, headers, disable_numparse=True)


def openvino_ratio(entries: list[dict[str, Any]], name: str) -> str:
    """Time of one of edgegd's files by that of OpenVINO on the portable file of the same activation."""
    peer = "openvino-" + name.removeprefix("edgegd-").removesuffix("-edge")
    if not name.startswith("edgegd-") or peer not in entries[0]["files"]:
        return ""
    return f"{1 / ratio(entries, peer, name)[0]:.2f}"


def edge_ratio(entries: list[dict[str, Any]], edge: str, name: str) -> str:
    """How many times faster than a file an edge file of edgegd's is, and its 95 % interval."""
    if edge not in entries[0]["files"] or name.startswith("edgegd-"):
        return ""
    times, low, high = ratio(entries, name, edge)
    return f"{times:.2f} [{low:.2f}, {high:.2f}]"


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--peer-python", default=sys.executable, help="a Python with edgegd[train,bench] installed")
    option("--models", nargs="+", default=MODELS, help="architectures")
    option(
        "--form",
        choices=("raw", "end2end"),
        default="raw",
        help="what Ultralytics exports by default, or the head of YOLOv10 and YOLO26 that needs no NMS (nms=False)",
    )
    option("--sizes", nargs="+", type=int, default=SIZES, help="sides of the input in px")
    option("--auto", nargs="*", default=[], metavar="MODEL=FILE", help="activation.json of a run with activation auto")
    option("--runtimes", action="store_true", help="other runtimes in the place of other quantizers")
    option("--spinning", action="store_true", help="let idle threads of onnxruntime spin, as is its default")
    option("--launches", type=int, default=5, help="0: only make the files")
    option("--quads", type=int, default=2)
    option("--block-s", type=float, default=0.5)
    option("--work", type=Path, default=ROOT / "runs/latency_vs_peers", help="folder of all files made")
    option("--result", type=Path, help="another file than this kind of CPU's below benchmarks/results/")
    arguments = parser.parse_args()
    arguments.auto = {model: Path(file) for model, file in (pair.split("=", 1) for pair in arguments.auto)}
    arguments.work = arguments.work.resolve()
    return arguments


def main() -> None:
    """Measures what is missing, detector by detector, and prints the table of all that is measured."""
    arguments = parse_arguments()
    name = "latency_vs_runtimes" if arguments.runtimes else "latency_vs_peers"
    results = ResultFile.of_this_machine(name, arguments.result)
    for model in arguments.models:
        for imgsz in arguments.sizes:
            measure_detector(results, {"model": model, "form": arguments.form, "imgsz": imgsz}, arguments)
    if results.entries:
        machine = results.entries[-1]["machine"]
        print(f"{machine['cpu']}, onnxruntime {machine['onnxruntime']}")
        print(table(results))


if __name__ == "__main__":
    main()
