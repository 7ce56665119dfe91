"""What `edgegd data doctor` costs, and what its search for similar images tells apart (docs/data.md).

    OMP_NUM_THREADS=1 python benchmarks/data_doctor.py --sets bccd/bccd.yaml coco128/coco128.yaml streets/streets.yaml
    OMP_NUM_THREADS=1 python benchmarks/data_doctor.py --images 50000

With --sets: of every pair of images of a set the bits in which their hashes differ and the correlation of their small
pictures; and the same of images and their changed copies. With --images: seconds of the CPU and memory for a set of so
many images, random cuts of the twelve photographs in tests/images. Writes benchmarks/results/data_doctor.json.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
from numpy.typing import NDArray
from result_file import ROOT, ResultFile

from edgegd.data.doctor import examine, survey
from edgegd.data.doctor.appearance import hashes, small_picture
from edgegd.data.doctor.resemblance import LEAST_CORRELATION, MOST_BITS, correlation
from edgegd.data.yaml_set import list_images, read_data_yaml
from edgegd.runtime.images import read_image

Pixels = NDArray[np.uint8]
CHANGED = 60
CUT_PX = (120, 160)
SHOWN_PAIRS = 3


def saved_again(image: Pixels) -> Pixels:
    """A JPEG of quality 40."""
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR))


def without_border(share: float) -> Callable[[Pixels], Pixels]:
    """What cuts off a share of the image at every side."""

    def cut(image: Pixels) -> Pixels:
        height, width = (int(side * share) for side in image.shape[:2])
        return image[height : image.shape[0] - height, width : image.shape[1] - width]

    return cut


CHANGES: dict[str, Callable[[Pixels], Any]] = {
    "JPEG of quality 40": saved_again,
    "half the size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "noise of 8 codes": lambda image: np.clip(image + np.random.default_rng(0).normal(0, 8, image.shape), 0, 255),
    "gamma 0.7": lambda image: 255 * (image / 255.0) ** 0.7,
    "1.2 times as bright, clipped": lambda image: np.clip(image * 1.2 + 10, 0, 255),
    "1 % cut off at every side": without_border(0.01),
    "2 % cut off at every side": without_border(0.02),
}


def small(images: list[Pixels]) -> Pixels:
    """The small pictures of some images: (N, 32, 32)."""
    return np.stack([small_picture(image)[0] for image in images])


def pairs_of(yaml_path: Path) -> dict[str, Any]:
    """All pairs of a set's images."""
    described = read_data_yaml(yaml_path)
    paths = [path for split in ("train", "val") for path in list_images(split, described)]
    pictures = small([read_image(path) for path in paths])
    bits = hashes(pictures)
    first, second = np.triu_indices(len(paths), k=1)
    differing = np.array([(bits[one] != bits[one + 1 :]).sum(axis=1) for one in range(len(paths) - 1)], object)
    distance = np.concatenate(list(differing))
    alike = np.concatenate(
        [correlation(pictures[[one] * (len(paths) - one - 1)], pictures[one + 1 :]) for one in range(len(paths) - 1)]
    )
    order = np.argsort(-alike)[:SHOWN_PAIRS]
    return {
        "kind": "pairs",
        "set": yaml_path.stem,
        "images": len(paths),
        "found": int(((distance <= MOST_BITS) & (alike >= LEAST_CORRELATION)).sum()),
        "fewest_bits": sorted(distance.tolist())[:SHOWN_PAIRS],
        "most_alike": [[paths[first[at]].name, paths[second[at]].name, float(alike[at])] for at in order],
    }


def changed_copies(yaml_path: Path) -> list[dict[str, Any]]:
    """The first images of a set against their changed copies."""
    images = [read_image(path) for path in list_images("train", read_data_yaml(yaml_path))[:CHANGED]]
    pictures = small(images)
    found = []
    for name, change in CHANGES.items():
        copies = small([np.ascontiguousarray(change(image), np.uint8) for image in images])
        bits, alike = (hashes(pictures) != hashes(copies)).sum(axis=1), correlation(pictures, copies)
        found.append(
            {
                "kind": "change",
                "set": yaml_path.stem,
                "change": name,
                "images": len(images),
                "most_bits": int(bits.max()),
                "least_correlation": float(alike.min()),
                "median_correlation": float(np.median(alike)),
                "share_found": float(((bits <= MOST_BITS) & (alike >= LEAST_CORRELATION)).mean()),
            }
        )
    return found


def draw_set(root: Path, count: int) -> Path:
    """A set of cuts of the photographs, a tenth of them for validation, with three boxes each."""
    rng = np.random.default_rng(0)
    photographs = [read_image(path) for path in sorted((ROOT / "tests/images/bccd/images").rglob("*.jpg"))]
    for place in range(count):
        split = "val" if place < count // 10 else "train"
        for folder in ("images", "labels"):
            (root / folder / split).mkdir(parents=True, exist_ok=True)
        photograph = photographs[rng.integers(len(photographs))]
        height, width = (int(side * rng.uniform(0.2, 0.6)) for side in photograph.shape[:2])
        top, left = (rng.integers(side - part) for side, part in zip(photograph.shape, (height, width), strict=False))
        cut = cv2.resize(
            photograph[top : top + height, left : left + width], CUT_PX[::-1], interpolation=cv2.INTER_AREA
        )
        cv2.imwrite(str(root / f"images/{split}/{place:06d}.jpg"), cut)
        rows = np.hstack([rng.integers(0, 10, (3, 1)), rng.uniform(0.3, 0.5, (3, 4))])
        text = "".join(f"{int(kind)} {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n" for kind, x, y, w, h in rows)
        (root / f"labels/{split}/{place:06d}.txt").write_text(text)
    file = root / "data.yaml"
    file.write_text(f"train: images/train\nval: images/val\nnames: {[f'class {kind}' for kind in range(10)]}\n")
    return file


def cost_of(count: int) -> dict[str, Any]:
    """Seconds of the CPU and memory for a set of `count` images."""
    compared: list[float] = []
    search = survey.resembling

    def timed(*arguments: Any) -> Any:
        start = time.process_time()
        result = search(*arguments)
        compared.append(time.process_time() - start)
        return result

    with tempfile.TemporaryDirectory() as folder:
        described = read_data_yaml(draw_set(Path(folder), count))
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        with patch.object(survey, "resembling", timed):
            examination = examine(described, (640, 640))
    return {
        "kind": "cost",
        "images": count,
        "image_px": list(CUT_PX),
        "cpu_s": time.process_time() - start,
        "of_these_comparing_s": compared[0],
        "memory_before_mb": before / 1024,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "is_complete": examination.survey.resemblance.is_complete,
    }


def main() -> None:
    """Measures what was asked for, and stores it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=Path, nargs="*", default=[])
    parser.add_argument("--images", type=int, default=0)
    asked = parser.parse_args()
    results = ResultFile("data_doctor")
    measured = [entry for path in asked.sets for entry in (pairs_of(path), *changed_copies(path))]
    if asked.images:
        measured.append(cost_of(asked.images))
    for entry in measured:
        key = {name: entry.get(name) for name in ("kind", "set", "change", "images")}
        results.drop(lambda old, key=key: all(old.get(name) == value for name, value in key.items()))
        results.add(entry)
        print(entry)


if __name__ == "__main__":
    main()
