"""`edgegd predict`: run an exported model on images."""

from __future__ import annotations

import json
import os
import statistics
import time
from dataclasses import asdict
from pathlib import Path

import click


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--save", "save_dir", type=click.Path(path_type=Path, file_okay=False),
              help="Draw the boxes into copies of the images in this folder; nothing is overwritten.")  # fmt: skip
@click.option("--conf", type=click.FloatRange(0, 1), default=0.25, show_default=True, help="Smallest score shown.")
@click.option("--timings", is_flag=True,
              help="Measure decoding of the image file, letterbox, inference and post-processing apart, and print the "
                   "medians over all IMAGES.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True,
              help="Print the detections as JSON: a list; with --timings, an object of `images` and `median_ms`.")
def predict(model: Path, images: tuple[Path, ...], save_dir: Path | None, conf: float, timings: bool,
            as_json: bool) -> None:
    """Detect objects in IMAGES with MODEL.onnx. Needs onnxruntime and OpenCV only, no torch.

    \b
    edgegd predict runs/try1/qat.onnx street.jpg --save drawn/
    edgegd predict runs/try1/qat.edge.onnx frames/*.jpg --timings
    """
    from edgegd.atomic_files import replaced_atomically
    from edgegd.runtime.detector import Detector
    from edgegd.runtime.draw import draw, write_image
    from edgegd.runtime.images import read_image

    targets = _targets(images, save_dir) if save_dir else [None] * len(images)
    detector = Detector(model, conf=conf)
    if timings:
        detector(read_image(images[0]))  # the first inference is slower than all others: it is not measured
    results = []
    steps: list[dict[str, float]] = []
    for path, target in zip(images, targets, strict=True):
        start_ns = time.perf_counter_ns()
        image = read_image(path)
        decode_ms = (time.perf_counter_ns() - start_ns) / 1e6
        found, taken = detector.timed(image)
        steps.append({"decode_ms": decode_ms, **asdict(taken)})
        results.append({"image": str(path), "saved": str(target) if target else None, **found.to_dict(),
                        **({"timings": steps[-1]} if timings else {})})  # fmt: skip
        if target:
            target.parent.mkdir(parents=True, exist_ok=True)
            with replaced_atomically(target) as temporary:
                write_image(temporary, draw(image, found))
        if not as_json:
            click.echo(f"{path}: {len(found)} detections" + (f" -> {target}" if target else ""))
            for box, score, class_id in zip(found.xyxy, found.scores, found.class_ids, strict=True):
                x1, y1, x2, y2 = box
                click.echo(f"  {found.names[class_id]:<16} {score:.2f}  {x1:.0f} {y1:.0f} {x2:.0f} {y2:.0f}")
    median_ms = {step.removesuffix("_ms"): statistics.median(taken[step] for taken in steps) for step in steps[0]}
    if as_json:
        click.echo(json.dumps({"images": results, "median_ms": median_ms} if timings else results))
    elif timings:
        in_words = ", ".join(f"{step} {duration:.2f}" for step, duration in median_ms.items())
        click.echo(f"medians of {len(images)} images, ms: {in_words}")


def _targets(images: tuple[Path, ...], save_dir: Path) -> list[Path]:
    """A file in `save_dir` for each image: STEM.png, STEM-2.png for the second of a stem, and so on.

    Raises WouldOverwriteError if one of them exists.
    """
    from edgegd.errors import WouldOverwriteError
    from edgegd.safe_outputs import check_outputs

    targets: list[Path] = []
    for image in images:
        target, number = save_dir / f"{image.stem}.png", 1
        while target in targets:
            number += 1
            target = save_dir / f"{image.stem}-{number}.png"
        targets.append(target)
    existing = [str(target) for target in targets if os.path.lexists(target)]
    if existing:
        raise WouldOverwriteError(
            f"{existing[0]} exists already" + (f", and {len(existing) - 1} more." if existing[1:] else "."),
            expected="no files of these names", mend="choose another --save folder, or remove them",
        )  # fmt: skip
    check_outputs({f"--save, {target.name}:": (target, lambda head: False) for target in targets[:1]}, images)
    return targets
