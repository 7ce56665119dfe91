"""Images per second of `edgegd.runtime.Stream` by its workers, one thread each, beside two threads for one image.

    python benchmarks/stream.py --models yolo26n yolo11n

Rounds alternate between all of them, so that a drift of the machine meets each alike. Images (720 x 1280) are
letterboxed, and boxes decoded. An entry of benchmarks/results/stream/CPU-PROFILE.json is one file: seconds of each
round, and the median ratio to one worker with a 95 % bootstrap interval over rounds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
from detectors import made
from result_file import ROOT, ResultFile

from edgegd.report.table import table
from edgegd.runtime import Detector, Stream

ROUNDS, IMAGES = 12, 40
ONE = "1 worker"


def images(count: int) -> Iterator[np.ndarray]:
    """The same noise again and again: what is in it changes neither kernels nor letterbox."""
    picture = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    for _ in range(count):
        yield picture


def ways(file: Path) -> dict[str, Stream]:
    """What is compared: a stream each."""
    return {
        ONE: Stream(file, workers=1),
        "1 worker, 2 threads spinning": Stream(file, workers=1, threads=2, spinning=True),
        "2 workers": Stream(file, workers=2),
        "3 workers": Stream(file, workers=3),
    }


def measure(file: Path) -> dict[str, list[float]]:
    """Way -> seconds for IMAGES images, one of every round."""
    compared = ways(file)
    seconds: dict[str, list[float]] = {name: [] for name in compared}
    for _ in range(ROUNDS + 1):
        for name, stream in compared.items():
            start = time.perf_counter()
            for _ in stream(images(IMAGES)):
                pass
            seconds[name].append(time.perf_counter() - start)
    return {name: taken[1:] for name, taken in seconds.items()}  # the first round warms up


def interval(ratios: list[float]) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of a median."""
    drawn = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    """Measures what is asked for, prints and stores it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=Path, default=ROOT / "benchmarks/files", help="where detectors are made")
    parser.add_argument("--models", nargs="+", default=["yolo26n"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[640, 320])
    arguments = parser.parse_args()
    results, rows = ResultFile.of_this_machine("stream"), []
    for model in arguments.models:
        for size in arguments.sizes:
            file = made(model, size, arguments.files / f"{model}-{size}") / "silu.edge.onnx"
            Detector(file)  # refuses what is no edge file
            seconds = measure(file)
            entry: dict[str, object] = {"model": model, "imgsz": size, "images": IMAGES, "seconds": seconds}
            for name, taken in seconds.items():
                ratios = [one / own for one, own in zip(seconds[ONE], taken, strict=True)]
                low, high = interval(ratios)
                entry[f"ratio {name}"] = [median(ratios), low, high]
                rate = IMAGES / median(taken)
                rows.append([model, size, name, f"{rate:.1f}", f"{median(ratios):.2f} [{low:.2f}, {high:.2f}]"])
            results.drop(lambda old, key=(model, size): (old["model"], old["imgsz"]) == key)
            results.add(entry)
    print(table(rows, ["model", "px", "", "images/s", "of one worker"]))


if __name__ == "__main__":
    main()
