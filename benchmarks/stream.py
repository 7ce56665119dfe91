"""Images per second of `edgegd.runtime.Stream` by its workers, one thread each, and of two threads for one image.

    python benchmarks/stream.py runs/demo/qat.edge.onnx --images datasets/streets/images/val

Real images and a trained file: on noise a network finds thousands of boxes, and measures their suppression. Two threads
spin while an inference runs, and not through the rounds of the others. Rounds alternate between all ways, so that a
drift of the machine meets each alike; letterbox and decoding count, reading of files does not. An entry of
benchmarks/results/stream/CPU-PROFILE.json is one file: images per second of each round, and the median ratio to one
worker with its 95 % bootstrap interval over rounds.
"""

from __future__ import annotations

import argparse
import time
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from result_file import ResultFile

from edgegd.latency.measuring.result import speedup
from edgegd.report.table import table
from edgegd.runtime import Stream, read_image

ROUNDS, IMAGES, REPEATED = 12, 40, 5
ONE = "1 worker"


def ways(file: Path) -> dict[str, Stream]:
    """What is compared: a stream each."""
    return {
        ONE: Stream(file, workers=1),
        "1 worker, 2 threads": Stream(file, workers=1, threads=2),
        "2 workers": Stream(file, workers=2),
        "3 workers": Stream(file, workers=3),
    }


def measure(file: Path, images: list[np.ndarray]) -> dict[str, list[float]]:
    """Way -> images per second of every round but the first, which warms up."""
    compared = ways(file)
    rates: dict[str, list[float]] = {name: [] for name in compared}
    for _ in range(ROUNDS + 1):
        for name, stream in compared.items():
            start = time.perf_counter()
            count = sum(1 for _ in stream(images * REPEATED))
            rates[name].append(count / (time.perf_counter() - start))
    return {name: taken[1:] for name, taken in rates.items()}


def main() -> None:
    """Measures one file, prints and stores it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="an edge file of a trained model")
    parser.add_argument("--images", type=Path, required=True, help="a folder of images")
    arguments = parser.parse_args()
    images = [read_image(path) for path in sorted(arguments.images.iterdir())[:IMAGES]]
    rates, rows = measure(arguments.file, images), []
    digest = sha256(arguments.file.read_bytes()).hexdigest()
    imgsz = Stream(arguments.file, workers=1).contract.preprocessing.imgsz
    entry: dict[str, Any] = {"file": arguments.file.name, "sha256": digest, "imgsz": imgsz, "rates": rates}
    for name, taken in rates.items():
        log_ratios = np.log(np.divide(taken, rates[ONE]))[:, None]  # (rounds,) -> (rounds, 1)
        ratio, low, high = entry[f"ratio of {name}"] = speedup(log_ratios)
        rows.append([name, f"{median(taken):.1f}", f"{ratio:.2f} [{low:.2f}, {high:.2f}]"])
    results = ResultFile.of_this_machine("stream")
    results.drop(lambda old: old["file"] == arguments.file.name and old["imgsz"] == list(imgsz))
    results.add(entry)
    print(table(rows, ["", "images/s", "of one worker"]))


if __name__ == "__main__":
    main()
