"""What the comparison of `edgegd images` takes for many images, on made-up detections.

    python benchmarks/many_images.py

Every image has 8 labelled boxes and 40 detections of each of two models, of which about 10 have scores above 0.25. CPU
seconds of one thread, and the largest size of the process, with the detections, in benchmarks/results/many_images.json.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from result_file import ResultFile
from tabulate import tabulate

from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.accuracy.image_comparison import compare_images
from edgegd.accuracy.measured import MeasuredImages
from edgegd.runtime.detector import Detections

COUNTS, BOXES, DETECTIONS, CLASSES, SIDE = (1_000, 10_000, 50_000), 8, 40, 80, 640
NAMES = tuple(f"class {index}" for index in range(CLASSES))


def made_up(images: int) -> MeasuredImages:
    """Boxes by lot; detections near them, five to a box, and those of the second model near those of the first."""
    random = np.random.default_rng(0)
    corners = random.uniform(0, SIDE - 120, (images, BOXES, 2))
    labelled = np.concatenate([corners, corners + random.uniform(20, 120, (images, BOXES, 2))], axis=2)
    ids = random.integers(0, CLASSES, (images, BOXES))
    near = np.repeat(labelled, DETECTIONS // BOXES, axis=1)
    found = (near + random.normal(0, 12, near.shape)).astype(np.float32)
    scores = random.beta(0.6, 3, (images, DETECTIONS)).astype(np.float32)
    moved = found + random.normal(0, 1, found.shape).astype(np.float32)
    other = np.clip(scores + random.normal(0, 0.02, scores.shape), 0.001, 1).astype(np.float32)
    found_ids = np.repeat(ids, DETECTIONS // BOXES, axis=1)
    models = {"fp32": (found, scores), "ptq": (moved, other)}
    return MeasuredImages(
        GroundTruth(tuple(Path(f"{index}.jpg") for index in range(images)), tuple(labelled), tuple(ids), NAMES),
        np.full((images, 2), SIDE, np.int32),
        ("",) * images,
        {
            name: tuple(Detections(*rows, NAMES) for rows in zip(boxes, of, found_ids, strict=True))
            for name, (boxes, of) in models.items()
        },
        dict.fromkeys(models, (SIDE, SIDE)),
        0.001,
        0.7,
        300,
    )


def measure(images: int) -> dict[str, float]:
    """One row; counts ascend, so that no earlier row hides what this one needs."""
    measured = made_up(images)
    start = time.process_time()
    result = compare_images(measured, "ptq", "fp32", 0.25)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "images": images,
        "cpu_s": round(seconds, 1),
        "ms_per_image": round(1000 * seconds / images, 2),
        "json_bytes_per_image": round(len(json.dumps(result["images"], indent=1)) / images),
        "peak_mib": round(peak / 1024),
        "lost": result["lost"],
    }


def table(entries: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table."""
    rows = [
        [
            f"{one['images']:,}",
            f"{one['cpu_s']:.0f}",
            one["ms_per_image"],
            one["peak_mib"],
            f"{one['images'] * one['json_bytes_per_image'] / 2**20:.1f}",
        ]
        for one in entries
    ]
    headers = ["images", "CPU, s", "ms an image", "process, MiB", "rows in images.json, MiB"]
    return tabulate(rows, headers, tablefmt="github")


def main() -> None:
    """Measures every count that is missing."""
    file = ResultFile("many_images")
    for images in COUNTS:
        if not file.find(images=images):
            file.add(measure(images))
            print({key: value for key, value in file.entries[-1].items() if key != "machine"}, flush=True)


if __name__ == "__main__":
    main()
