"""Detections in whole files, image or video, frame by frame, each drawn into a copy where one is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgegd.atomic_files import replaced_atomically
from edgegd.runtime.detector import Detections, Detector
from edgegd.runtime.draw import draw, drawable, write_image
from edgegd.runtime.images import read_for
from edgegd.runtime.sources import Source
from edgegd.runtime.video import Video, VideoFile

STEPS = ("decode", "letterbox", "inference", "postprocess")


@dataclass(frozen=True)
class FrameResult:
    """What was found in an image (`frame` None) or in a frame of a video (counted from 0).

    `timings` are milliseconds: `decode_ms` for reading the image, and those of `edgegd.runtime.detector.Timings`.
    """

    path: Path
    frame: int | None
    saved: Path | None
    detections: Detections
    timings: dict[str, float]

    def to_dict(self, with_timings: bool) -> dict[str, Any]:
        """The result as plain values, ready for `json.dumps`."""
        frame = {} if self.frame is None else {"frame": self.frame}
        return {
            "image": str(self.path),
            **frame,
            "saved": str(self.saved) if self.saved else None,
            **self.detections.to_dict(),
            **({"timings": self.timings} if with_timings else {}),
        }


def detect_in(
    detector: Detector, source: Source, target: Path | None, note: Callable[[str], None]
) -> Iterator[FrameResult]:
    """The result of an image, or those of a video's frames; with a `target`, what was found is drawn into that file.

    A video's file takes its name when the last frame was asked for. `note` is told where a video ends early.
    Raises UnreadableImageError, ChannelCountError, MissingExtraError, and what writing raises.
    """
    yield from (_in_video if source.is_video else _in_image)(detector, source.path, target, note)


def _in_image(
    detector: Detector, path: Path, target: Path | None, note: Callable[[str], None]
) -> Iterator[FrameResult]:
    start_ns = time.perf_counter_ns()
    image = read_for(path, detector.contract.preprocessing)
    decode_ms = (time.perf_counter_ns() - start_ns) / 1e6
    found, taken = detector.timed(image)
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replaced_atomically(target) as temporary:
            write_image(temporary, draw(drawable(image), found))
    yield FrameResult(path, None, target, found, {"decode_ms": decode_ms, **asdict(taken)})


def _in_video(
    detector: Detector, path: Path, target: Path | None, note: Callable[[str], None]
) -> Iterator[FrameResult]:
    number = -1
    with Video(path, detector.contract.preprocessing.image_channels) as video, ExitStack() as stack:
        drawn = stack.enter_context(VideoFile(target, video.frames_per_second)) if target else None
        start_ns = time.perf_counter_ns()
        for number, image in enumerate(video):
            decode_ms = (time.perf_counter_ns() - start_ns) / 1e6
            found, taken = detector.timed(image)
            if drawn:
                drawn.append(draw(drawable(image), found))
            yield FrameResult(path, number, target, found, {"decode_ms": decode_ms, **asdict(taken)})
            start_ns = time.perf_counter_ns()
        announced = video.announced_frames
    if announced > 1.02 * (number + 1) + 1:
        note(f"{path}: {number + 1} frames could be read, the file speaks of {announced}; it may be damaged")
