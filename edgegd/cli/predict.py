"""`edgegd predict`: run an exported model on images and videos."""

from __future__ import annotations

import os
import statistics
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegd.cli.json_output import json_text
from edgegd.cli.numbers import FiniteFloat
from edgegd.foreign_text import one_line

if TYPE_CHECKING:
    from edgegd.runtime.annotate import FrameResult
    from edgegd.runtime.results import JsonList
    from edgegd.runtime.sources import Source


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True)
@click.option(
    "--save",
    "save_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Draw the boxes into copies of the images (.png) and videos (.mp4) in this folder; nothing is overwritten.",
)
@click.option("--conf", type=FiniteFloat(0, 1), default=0.25, show_default=True, help="Smallest score shown.")
@click.option(
    "--timings",
    is_flag=True,
    help="Measure decoding of the image file, letterbox, inference and post-processing apart, and print the "
    "medians over all images and frames.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the detections as JSON: a list with an entry for each image, and for each frame of a video "
    "(`frame`, from 0); with --timings, an object of `images` and `median_ms`.",
)
def predict(
    model: Path, images: tuple[str, ...], save_dir: Path | None, conf: float, timings: bool, as_json: bool
) -> None:
    """Detect objects in IMAGES with MODEL.onnx. Needs onnxruntime and OpenCV only, no torch.

    IMAGES are images, videos, folders of both, patterns (in quotes), and list files (.txt, one path a line).

    \b
    edgegd predict runs/try1/qat.onnx street.jpg --save drawn/
    edgegd predict runs/try1/qat.edge.onnx frames/ 'more/**/*.jpg' list.txt --timings
    edgegd predict runs/try1/qat.edge.onnx drive.mp4 --save drawn/ --json
    """
    from edgegd.runtime.annotate import STEPS, detect_in
    from edgegd.runtime.detector import Detector
    from edgegd.runtime.results import JsonList
    from edgegd.runtime.sources import find_sources

    def note(text: str) -> None:
        click.echo(text, err=True)

    sources = find_sources(images)
    targets = _targets(sources, save_dir) if save_dir else [None] * len(sources)
    detector = Detector(model, conf=conf)
    if timings:  # the first inference is slower than all others: it is not measured
        next(detect_in(detector, sources[0], None, note))
    results, steps = JsonList(), {step: array("d") for step in STEPS}
    for source, target in zip(sources, targets, strict=True):
        for result in detect_in(detector, source, target, note):
            for step, taken in steps.items():
                taken.append(result.timings[f"{step}_ms"])
            if as_json:
                results.append(result.to_dict(timings))
            else:
                _print(result)
        if source.is_video and target and not as_json:
            click.echo(f"{source.path} -> {target}")
    median_ms = {step: statistics.median(taken) for step, taken in steps.items()}
    if as_json:
        _print_json(results, median_ms if timings else None)
    elif timings:
        in_words = ", ".join(f"{step} {duration:.2f}" for step, duration in median_ms.items())
        click.echo(f"medians of {len(steps['decode'])} images, ms: {in_words}")


def _print(result: FrameResult) -> None:
    found, which = result.detections, "" if result.frame is None else f" frame {result.frame}"
    saved = f" -> {result.saved}" if result.saved and result.frame is None else ""
    click.echo(one_line(f"{result.path}{which}: {len(found)} detections{saved}"))
    for box, score, class_id in zip(found.xyxy, found.scores, found.class_ids, strict=True):
        x1, y1, x2, y2 = box
        click.echo(f"  {one_line(found.names[class_id]):<16} {score:.2f}  {x1:.0f} {y1:.0f} {x2:.0f} {y2:.0f}")


def _print_json(results: JsonList, median_ms: dict[str, float] | None) -> None:
    if median_ms is not None:
        click.echo('{"images": ', nl=False)
    for part in results.parts():
        click.echo(part, nl=False)
    click.echo("" if median_ms is None else f', "median_ms": {json_text(median_ms)}}}')


def _targets(sources: Sequence[Source], save_dir: Path) -> list[Path]:
    """A file in `save_dir` for each source: STEM.png or STEM.mp4, STEM-2.png for the second of a stem, and so on.

    Raises WouldOverwriteError if one of them exists.
    """
    from edgegd.errors import WouldOverwriteError
    from edgegd.safe_outputs import check_outputs

    targets: dict[Path, None] = {}
    numbers: dict[str, int] = {}
    for source in sources:
        stem, suffix = source.path.stem, ".mp4" if source.is_video else ".png"
        target = save_dir / f"{stem}{suffix}"
        while target in targets:
            numbers[stem] = numbers.get(stem, 1) + 1
            target = save_dir / f"{stem}-{numbers[stem]}{suffix}"
        targets[target] = None
    existing = [str(target) for target in targets if os.path.lexists(target)]
    if existing:
        raise WouldOverwriteError(
            f"{existing[0]} exists already" + (f", and {len(existing) - 1} more." if existing[1:] else "."),
            expected="no files of these names",
            mend="choose another --save folder, or remove them",
        )
    paths = [source.path for source in sources]
    check_outputs({f"--save, {target.name}:": (target, lambda head: False) for target in list(targets)[:1]}, paths)
    return list(targets)
