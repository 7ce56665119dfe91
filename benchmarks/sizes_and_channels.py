"""What a rectangle and one channel save: 384x640 and gray against the square of 640 px in colours.

    python benchmarks/sizes_and_channels.py --launches 5

Each launch runs the six files of a model, FP32 and INT8 edge of the three forms, in fresh processes and alternating
blocks on one thread. Random weights: latency depends on the graph. A launch is an entry of
benchmarks/results/sizes_and_channels/CPU-PROFILE.json, so a killed benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

from detectors import made
from interleaved import measure_launch, median_ms, missing, ratio, require_same_files
from result_file import ROOT, ResultFile
from tabulate import tabulate

from edgegd.recipe.schema import LatencySection
from edgegd.targets.local import LocalTarget

MODELS = ("yolo26n", "yolo11n", "yolov8n")


def files_of(model: str, square: str, rectangle: str, work: Path) -> dict[str, Path]:
    """The files of a model's three forms by the names that the table shows; the square in colours comes first."""
    files: dict[str, Path] = {}
    for name, size, channels in (("square", square, 3), ("rectangle", rectangle, 3), ("one channel", square, 1)):
        folder = made(model, size, work / f"{model}-{size}-{channels}", only="silu", channels=channels)
        files |= {f"{name}, FP32": folder / "fp32.onnx", f"{name}, INT8 edge": folder / "silu.edge.onnx"}
    return files


def table(results: ResultFile) -> str:
    """A line a model and file: time, and the ratio to the same kind of file of the square."""
    lines = []
    keys = ("model", "square", "rectangle")
    for group in dict.fromkeys(tuple(entry[name] for name in keys) for entry in results.entries):
        entries = results.find(**dict(zip(keys, group, strict=True)))
        for name in entries[0]["files"]:
            times, low, high = ratio(entries, f"square, {name.split(', ')[1]}", name)
            lines.append(
                [*group, name, f"{median_ms(entries, name):.2f}", f"{times:.2f}", f"{low:.2f}-{high:.2f}", len(entries)]
            )
    headers = ["model", "square", "rectangle", "file", "ms", "x as fast as the square", "95 %", "launches"]
    return tabulate(lines, headers, disable_numparse=True)


def main() -> None:
    """Measures what is missing, and prints the table of all that is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--models", nargs="+", default=MODELS, help="architectures")
    option("--square", default="640", help="side of the square in px")
    option("--rectangle", default="384x640", help="HEIGHTxWIDTH in px")
    option("--launches", type=int, default=5)
    option("--quads", type=int, default=2)
    option("--block-s", type=float, default=0.5)
    option("--work", type=Path, default=ROOT / "runs/sizes_and_channels", help="folder of all files made")
    option("--result", type=Path, help="another file than benchmarks/results/sizes_and_channels/CPU-PROFILE.json")
    arguments = parser.parse_args()
    results = ResultFile.of_this_machine("sizes_and_channels", arguments.result)
    settings = LatencySection(threads=1, quads=arguments.quads, block_s=arguments.block_s)
    for model in arguments.models:
        files = files_of(model, arguments.square, arguments.rectangle, arguments.work)
        key: dict[str, Any] = {"model": model, "square": arguments.square, "rectangle": arguments.rectangle}
        hashes = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
        require_same_files(results, key, hashes)
        for launch in missing(results, key, arguments.launches):
            measure_launch(results, {**key, "launch": launch}, files, settings, LocalTarget())
    print(table(results))


if __name__ == "__main__":
    main()
