"""`edgegd predict`: run an exported model on images, videos and cameras."""

from __future__ import annotations

import contextlib
import statistics
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgegd.cli.json_output import json_text
from edgegd.cli.numbers import FiniteFloat
from edgegd.foreign_text import one_line
from edgegd.limits import THREADS

if TYPE_CHECKING:
    from edgegd.runtime import Detector, Stream
    from edgegd.runtime.annotate import FrameResult
    from edgegd.runtime.results import JsonList


TUNED = "tuned"


class ThreadCount(click.ParamType):
    """A number of threads, or `tuned`."""

    name = "integer|tuned"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> int | str:
        """A number from 1 to the most threads, or the word."""
        if value == TUNED:
            return TUNED
        return int(click.IntRange(1, THREADS).convert(value, parameter, context))


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True)
@click.option(
    "--save",
    "saves",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A folder: draw the boxes into copies of the images (.png) and videos (.mp4) in it. A name that ends in .mp4: "
    "draw into this video, of one video or camera. In .jsonl: write a line of JSON per image and frame, as they come. "
    "May be given several times; nothing is overwritten.",
)
@click.option("--show", is_flag=True, help="Show what was found in a window, where there is a screen; q ends it.")
@click.option(
    "--stride",
    type=click.IntRange(1, 1_000_000),
    default=1,
    show_default=True,
    help="Of videos and cameras, look at every so many frames only.",
)
@click.option(
    "--workers",
    type=ThreadCount(),
    default=1,
    show_default=True,
    help="Images in work at once, for more of them per second; `tuned`: as many, of as many threads, as "
    "`edgegd latency tune` found best for that on this machine.",
)
@click.option(
    "--threads",
    type=ThreadCount(),
    default=1,
    show_default=True,
    help="Of onnxruntime; `tuned`: as `edgegd latency tune` found best on this machine for one image at a time.",
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
    model: Path,
    images: tuple[str, ...],
    saves: tuple[Path, ...],
    show: bool,
    stride: int,
    workers: int | str,
    threads: int | str,
    conf: float,
    timings: bool,
    as_json: bool,
) -> None:
    """Detect objects in IMAGES with MODEL.onnx. Needs onnxruntime and OpenCV only, no torch.

    IMAGES are images, videos, folders of both, patterns (in quotes), and list files (.txt, one path a line); or a
    camera by its number, which Ctrl-C ends.

    \b
    edgegd predict runs/try1/qat.onnx street.jpg --save drawn/
    edgegd predict runs/try1/qat.edge.onnx frames/ 'more/**/*.jpg' list.txt --timings
    edgegd predict runs/try1/qat.edge.onnx drive.mp4 --save drawn/ --json --workers 2
    edgegd predict runs/try1/qat.edge.onnx 0 --save found.jsonl --save seen.mp4 --stride 5
    """
    from edgegd.cli.predict_outputs import Outputs
    from edgegd.runtime.annotate import STEPS, detect_in, warm_up
    from edgegd.runtime.results import JsonList
    from edgegd.runtime.sources import find_sources

    def note(text: str) -> None:
        click.echo(text, err=True)

    sources = find_sources(images)
    outputs = Outputs(saves, sources)
    results, steps = JsonList(), {step: array("d") for step in STEPS}
    with contextlib.ExitStack() as stack:
        window = _window(stack) if show else None
        detector = _model(model, workers, threads, conf)
        if timings:
            warm_up(detector)
        lines = stack.enter_context(outputs.lines())
        found = detect_in(detector, sources, outputs.drawn, note, stride=stride, show=window)
        before: FrameResult | None = None
        try:
            for result in stack.enter_context(contextlib.closing(found)):
                for step, taken in steps.items():
                    taken.append(result.timings[f"{step}_ms"])
                if lines:
                    lines.append(result.to_dict(timings))
                if as_json:
                    results.append(result.to_dict(timings))
                else:
                    _print_drawn(before, result)
                    _print(result)
                before = result
        except KeyboardInterrupt:  # the end of what has none
            if sources[0].camera is None:
                raise
    if not as_json:
        _print_drawn(before, None)
    median_ms = {step: statistics.median(taken) for step, taken in steps.items() if taken}
    if as_json:
        _print_json(results, median_ms if timings else None)
    elif timings and median_ms:
        in_words = ", ".join(f"{step} {duration:.2f}" for step, duration in median_ms.items())
        click.echo(f"medians of {len(steps['decode'])} images, ms: {in_words}")


def _model(model: Path, workers: int | str, threads: int | str, conf: float) -> Detector | Stream:
    """A Detector for one image at a time, a Stream for several."""
    from edgegd.runtime import Detector, Stream

    if workers == 1:
        return Detector(model, conf=conf, threads=threads)
    if (workers == TUNED and threads != 1) or threads == TUNED:
        raise click.UsageError("--threads tuned is for one image at a time; --workers tuned brings its own threads")
    if workers == TUNED:
        return Stream(model, conf=conf, threads=TUNED)
    return Stream(model, conf=conf, threads=threads, workers=int(workers))


def _window(stack: contextlib.ExitStack) -> Any:
    from edgegd.runtime.window import Window

    return stack.enter_context(Window()).show


def _print(result: FrameResult) -> None:
    found, which = result.detections, "" if result.frame is None else f" frame {result.frame}"
    saved = f" -> {result.saved}" if result.saved and result.frame is None else ""
    click.echo(one_line(f"{result.source}{which}: {len(found)} detections{saved}"))
    for box, score, class_id in zip(found.xyxy, found.scores, found.class_ids, strict=True):
        x1, y1, x2, y2 = box
        click.echo(f"  {one_line(found.names[class_id]):<16} {score:.2f}  {x1:.0f} {y1:.0f} {x2:.0f} {y2:.0f}")


def _print_drawn(before: FrameResult | None, now: FrameResult | None) -> None:
    """Where the video was drawn of which the last frame has been shown."""
    is_other = now is None or before is None or now.source is not before.source
    if before is not None and is_other and before.frame is not None and before.saved:
        click.echo(one_line(f"{before.source} -> {before.saved}"))


def _print_json(results: JsonList, median_ms: dict[str, float] | None) -> None:
    if median_ms is not None:
        click.echo('{"images": ', nl=False)
    for part in results.parts():
        click.echo(part, nl=False)
    click.echo("" if median_ms is None else f', "median_ms": {json_text(median_ms)}}}')
