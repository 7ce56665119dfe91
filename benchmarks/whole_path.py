"""From an image file to boxes: decoding, letterbox, inference and post-processing apart, of frames of several sizes.

    python benchmarks/whole_path.py --launches 5

The detector is the street detector that ships, in 640 px, of SiLUs as they are and of ReLUs in their place (which then
detects nothing good; its time is that of a trained one). Frames are drawn street scenes, enlarged to a camera's size
and stored as JPEGs. A launch runs each file in a fresh process, one at a time, in alternating order, onnxruntime and
OpenCV on one thread, every frame several times; it is an entry of benchmarks/results/whole_path/CPU-PROFILE.json, so
a killed benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from detectors import made
from interleaved import missing, require_same_files
from result_file import ROOT, ResultFile
from tabulate import tabulate

from edgegd.data.streets import render_scene
from edgegd.runtime.detector import Detector
from edgegd.runtime.images import read_image

CHECKPOINT = ROOT / "models/streets-yolo26n-320.pt"
FRAMES = {"640x480": (640, 480), "1280x720": (1280, 720), "1920x1080": (1920, 1080)}
SCENES, JPEG_QUALITY = 8, 92
STEPS = ("decode_ms", "letterbox_ms", "inference_ms", "postprocess_ms")


def draw_frames(folder: Path) -> None:
    """Writes the frames of every size, where they do not exist."""
    for name, size in FRAMES.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for seed in range(SCENES):
            path = folder / name / f"{seed}.jpg"
            if not path.exists():
                frame = cv2.resize(render_scene(np.random.default_rng(seed)).image, size, interpolation=cv2.INTER_CUBIC)
                cv2.imwrite(str(path), frame, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def time_steps(model: Path, frames: Path, seconds: float) -> dict[str, dict[str, float]]:
    """For each size of frames the median of every step, in ms, in this process; and the mean number of boxes."""
    cv2.setNumThreads(1)
    detector = Detector(model)
    result = {}
    for name in FRAMES:
        paths = sorted((frames / name).iterdir())
        for path in paths:
            detector(read_image(path))  # warm-up
        taken: list[dict[str, float]] = []
        boxes = 0
        end = time.monotonic() + seconds
        while time.monotonic() < end or len(taken) < len(paths):
            path = paths[len(taken) % len(paths)]
            start_ns = time.perf_counter_ns()
            image = read_image(path)
            decode_ms = (time.perf_counter_ns() - start_ns) / 1e6
            found, timings = detector.timed(image)
            taken.append({"decode_ms": decode_ms, **asdict(timings)})
            boxes += len(found)
        result[name] = {step: median(one[step] for one in taken) for step in STEPS} | {"boxes": boxes / len(taken)}
    return result


def launch_steps(model: Path, frames: Path, seconds: float) -> dict[str, Any]:
    """`time_steps` in a fresh process."""
    command = [
        sys.executable,
        __file__,
        "--in-this-process",
        str(model),
        "--frames",
        str(frames),
        "--seconds",
        str(seconds),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    steps: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return steps


def table(results: ResultFile) -> str:
    """A line a file and size of frames: every step, and what letterbox and post-processing add to the inference."""
    lines = []
    keys = ("form", "imgsz")
    for group in dict.fromkeys(tuple(entry[name] for name in keys) for entry in results.entries):
        entries = results.find(**dict(zip(keys, group, strict=True)))
        for name in entries[0]["files"]:
            for frames in FRAMES:
                own = [entry["files"][name]["steps"][frames] for entry in entries]
                share = median((one["letterbox_ms"] + one["postprocess_ms"]) / one["inference_ms"] for one in own)
                lines.append(
                    [
                        *group,
                        name,
                        frames,
                        *(f"{median(one[step] for one in own):.2f}" for step in STEPS),
                        f"{100 * share:.1f} %",
                        f"{own[0]['boxes']:.1f}",
                        len(entries),
                    ]
                )
    headers = [
        "form",
        "px",
        "file",
        "frame",
        "decode ms",
        "letterbox ms",
        "inference ms",
        "post-processing ms",
        "on top of inference",
        "boxes",
        "launches",
    ]
    return tabulate(lines, headers, disable_numparse=True)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--form", nargs="+", choices=("raw", "end2end"), default=["raw", "end2end"])
    option("--imgsz", type=int, default=640)
    option("--launches", type=int, default=5)
    option("--seconds", type=float, default=2.0, help="of each file and size of frames in a launch")
    option("--work", type=Path, default=ROOT / "runs/whole_path", help="folder of all files made")
    option("--result", type=Path, help="another file than benchmarks/results/whole_path/CPU-PROFILE.json")
    option("--in-this-process", type=Path, metavar="MODEL", help="print the JSON of one file, write nothing")
    option("--frames", type=Path, help="folder of the frames of --in-this-process")
    return parser.parse_args()


def main() -> None:
    """Measures what is missing, and prints the table of all that is measured."""
    arguments = parse_arguments()
    if arguments.in_this_process:
        print(json.dumps(time_steps(arguments.in_this_process, arguments.frames, arguments.seconds)))
        return
    results, frames = ResultFile.of_this_machine("whole_path", arguments.result), arguments.work / "frames"
    draw_frames(frames)
    for form in arguments.form:
        folder = made(
            str(CHECKPOINT), arguments.imgsz, arguments.work / f"{form}-{arguments.imgsz}", end2end=form == "end2end"
        )
        files = {
            "fp32": folder / "fp32.onnx",
            "silu portable": folder / "silu.onnx",
            "silu edge": folder / "silu.edge.onnx",
            "relu edge": folder / "relu.edge.onnx",
        }
        key = {"form": form, "imgsz": arguments.imgsz}
        hashes = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
        require_same_files(results, key, hashes)
        for launch in missing(results, key, arguments.launches):
            print(f"{form} {arguments.imgsz} launch {launch} ...", file=sys.stderr, flush=True)
            order = list(files) if launch % 2 == 0 else list(files)[::-1]
            steps = {name: launch_steps(files[name], frames, arguments.seconds) for name in order}
            timed = {name: {"sha256": hashes[name], "steps": steps[name]} for name in files}
            results.add({**key, "launch": launch, "files": timed})
    print(table(results))


if __name__ == "__main__":
    main()
