"""Latency of edgegd's files beside their peers': Ultralytics' FP32, PTQ and QAT, quantize_static, and OpenVINO.

    python benchmarks/latency_vs_peers.py --peer-python PEERS/bin/python --auto yolo26n=RUN/activation.json
    python benchmarks/latency_vs_peers.py ... --models yolo26n --sizes 640 --launches 15 --form end2end

PEERS is an environment with edgegd[train,bench]. All files of a detector have the same random weights and 80 classes.
Each launch runs all of them in fresh processes, one at a time, in alternating blocks, first on one thread, then on two
(the other way round in every other launch); it is an entry of benchmarks/results/latency_vs_peers/CPU-PROFILE.json, so
a killed benchmark goes on where it was, and more launches can be added later. OpenVINO runs Ultralytics' FP32 file and
edgegd's portable INT8 files. edgegd's files are those of the profile of this CPU. Files are made once into --work and
kept; where WORK/*/made.json is removed, edgegd's are made anew. Launches of files that changed are measured anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from detectors import made
from interleaved import measure_launch, median_ms, missing, ratio, ratio_of_launches, require_same_files
from peers.target import PeerTarget, for_openvino
from result_file import ROOT, ResultFile
from tabulate import tabulate

from edgegd.data.streets import make_streets
from edgegd.recipe.schema import LatencySection

MODELS, SIZES, THREADS = ("yolo26n", "yolo11n", "yolov8n", "yolo26s"), (320, 640), (1, 2)
PEERS = ("ultralytics-fp32", "ultralytics-ptq", "ultralytics-qat", "onnxruntime-minmax")
REFERENCE = PEERS[0]
CLASSES, IMAGES = 80, 4  # images that peers calibrate on, or train on for the one step that a QAT file needs
ASK_PEERS = """import json, importlib.metadata as m
print(json.dumps({p: m.version(p) for p in ("openvino", "nvidia-modelopt", "onnxslim", "ultralytics", "torch")}))"""


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


def files_of(model: str, imgsz: int, form: str, arguments: argparse.Namespace) -> dict[str, Path]:
    """Every file of a detector by its row's name; the first is the reference."""
    ours = made(
        model, imgsz, arguments.work / f"{model}-{form}-{imgsz}", arguments.auto.get(model), end2end=form == "end2end"
    )
    files = {peer: peer_file(peer, ours / "float.pt", imgsz, form, ours / peer, arguments) for peer in PEERS}
    files["openvino-fp32"] = for_openvino(files[REFERENCE])
    activations = list(json.loads((ours / "made.json").read_text()))
    files |= {f"openvino-{name}": for_openvino(ours / f"{name}.onnx") for name in activations}
    files |= {f"edgegd-{name}": ours / f"{name}.onnx" for name in activations}
    return files | {f"edgegd-{name}-edge": ours / f"{name}.edge.onnx" for name in activations}


def measure_detector(results: ResultFile, detector: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Measures the launches of a detector that are missing, on every number of threads in turn."""
    files = files_of(**detector, arguments=arguments)
    hashes = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
    require_same_files(results, detector, hashes)
    asked = subprocess.run([arguments.peer_python, "-c", ASK_PEERS], check=True, capture_output=True, text=True)
    versions = {f"peers' {name}": version for name, version in json.loads(asked.stdout).items()}
    for launch in range(arguments.launches):
        for threads in THREADS if launch % 2 == 0 else THREADS[::-1]:
            key = {**detector, "threads": threads, "spinning": arguments.spinning}
            if launch not in missing(results, key, arguments.launches):
                continue
            settings = LatencySection(
                threads=threads, spinning=arguments.spinning, quads=arguments.quads, block_s=arguments.block_s
            )
            target = PeerTarget(arguments.peer_python)
            measure_launch(results, {**key, "launch": launch}, files, settings, target, packages=versions)


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
                    f"{ratio(entries, 'ultralytics-qat', name)[0]:.2f}",
                    scaling,
                    openvino_ratio(entries, name),
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
        "launches",
    ]
    return tabulate(lines, headers, disable_numparse=True)


def openvino_ratio(entries: list[dict[str, Any]], name: str) -> str:
    """Time of one of edgegd's files by that of OpenVINO on the portable file of the same activation."""
    peer = "openvino-" + name.removeprefix("edgegd-").removesuffix("-edge")
    if not name.startswith("edgegd-") or peer not in entries[0]["files"]:
        return ""
    return f"{1 / ratio(entries, peer, name)[0]:.2f}"


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
    option("--spinning", action="store_true", help="let idle threads of onnxruntime spin, as is its default")
    option("--launches", type=int, default=5)
    option("--quads", type=int, default=2)
    option("--block-s", type=float, default=0.5)
    option("--work", type=Path, default=ROOT / "runs/latency_vs_peers", help="folder of all files made")
    option("--result", type=Path, help="another file than benchmarks/results/latency_vs_peers/CPU-PROFILE.json")
    arguments = parser.parse_args()
    arguments.auto = {model: Path(file) for model, file in (pair.split("=", 1) for pair in arguments.auto)}
    arguments.work = arguments.work.resolve()
    return arguments


def main() -> None:
    """Measures what is missing, detector by detector, and prints the table of all that is measured."""
    arguments = parse_arguments()
    results = ResultFile.of_this_machine("latency_vs_peers", arguments.result)
    for model in arguments.models:
        for imgsz in arguments.sizes:
            measure_detector(results, {"model": model, "form": arguments.form, "imgsz": imgsz}, arguments)
    machine = results.entries[-1]["machine"]
    print(f"{machine['cpu']}, onnxruntime {machine['onnxruntime']}")
    print(table(results))


if __name__ == "__main__":
    main()
