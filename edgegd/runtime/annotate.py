"""Detections in images, videos and cameras, one after the other or several at once; each drawn where that is asked for."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegd.atomic_files import replaced_atomically
from edgegd.runtime.contract import ModelContract, Preprocessing
from edgegd.runtime.detector import Detections, Detector, Timings
from edgegd.runtime.draw import draw, drawable, write_image
from edgegd.runtime.images import read_for
from edgegd.runtime.sources import Source
from edgegd.runtime.stream import Stream
from edgegd.runtime.video import Camera, Frames, Video, VideoFile

STEPS = ("decode", "letterbox", "inference", "postprocess")
Show = Callable[[NDArray[np.uint8], bool], bool]
"""show(drawn image, whether it is a single picture, to be looked at) -> whether more are wanted."""


@dataclass(frozen=True)
class FrameResult:
    """What was found in an image (`frame` None) or in a frame of a video or camera (counted from 0).

    `timings` are milliseconds: `decode_ms` for reading the image, and those of `edgegd.runtime.detector.Timings`.
    """

    source: Source
    frame: int | None
    saved: Path | None
    detections: Detections
    timings: dict[str, float]

    def to_dict(self, with_timings: bool) -> dict[str, Any]:
        """The result as plain values, ready for `json.dumps`."""
        frame = {} if self.frame is None else {"frame": self.frame}
        return {
            "image": str(self.source),
            **frame,
            "saved": str(self.saved) if self.saved else None,
            **self.detections.to_dict(),
            **({"timings": self.timings} if with_timings else {}),
        }


@dataclass(frozen=True)
class _Frame:
    """An image that was read, and where from; `frames` is the video or camera that it is of."""

    source: Source
    number: int | None
    image: NDArray[np.uint8]
    decode_ms: float
    frames: Frames | None


def detect_in(
    model: Detector | Stream,
    sources: Sequence[Source],
    targets: Sequence[Path | None],
    note: Callable[[str], None],
    *,
    stride: int = 1,
    show: Show | None = None,
) -> Iterator[FrameResult]:
    """The results of all images, and of every `stride`-th frame of videos and cameras, in order.

    What was found is drawn into a source's target, if it has one, and shown, if that is asked for; `show` ends all. A
    Stream reads ahead and has several images in work; a Detector one. A video's file takes its name when its last frame
    was asked for; that of a camera however it ends. `note` is told where a video ends early. Close the iterator where it
    is not used up. Raises UnreadableImageError, ChannelCountError, MissingExtraError, and what writing raises.
    """
    taken: deque[_Frame] = deque()  # read, and not given yet: as many as the model has in work

    def images() -> Iterator[NDArray[np.uint8]]:
        for frame in _read(sources, model.contract.preprocessing, stride, note):
            taken.append(frame)
            yield frame.image

    with ExitStack() as stack:
        drawing, saved_of = _Drawing(stack), dict(zip(map(id, sources), targets, strict=True))
        for found, times in _timed(model, images()):
            frame = taken.popleft()
            target = saved_of[id(frame.source)]
            if target or show:
                drawn = draw(drawable(frame.image), found)
                if target:
                    drawing.add(frame, target, drawn, stride)
                wanted = show(drawn, frame.frames is None) if show else True
            else:
                wanted = True
            timings = {"decode_ms": frame.decode_ms, **asdict(times)}
            yield FrameResult(frame.source, frame.number, target, found, timings)
            if not wanted:
                return


def warm_up(model: Detector | Stream) -> None:
    """Lets every worker look at one gray image: the first inference is slower than all others."""
    image = model.contract.preprocessing
    blank = np.full((*image.imgsz, image.image_channels), 114, np.uint8)
    for _ in _timed(model, itertools.repeat(blank, 2 * model.threads.workers)):
        pass


def _timed(model: Detector | Stream, images: Iterable[NDArray[np.uint8]]) -> Iterator[tuple[Detections, Timings]]:
    return model.timed(images) if isinstance(model, Stream) else map(model.timed, images)


def _read(
    sources: Sequence[Source], preprocessing: Preprocessing, stride: int, note: Callable[[str], None]
) -> Iterator[_Frame]:
    """Every image and frame, with the time that it took to read."""
    for source in sources:
        if not source.is_video:
            start_ns = time.perf_counter_ns()
            image = read_for(source.path, preprocessing)
            yield _Frame(source, None, image, (time.perf_counter_ns() - start_ns) / 1e6, None)
            continue
        with _opened(source, preprocessing.image_channels, stride, note) as frames:
            start_ns = time.perf_counter_ns()
            for number, image in enumerate(frames):
                yield _Frame(source, number * stride, image, (time.perf_counter_ns() - start_ns) / 1e6, frames)
                start_ns = time.perf_counter_ns()


def _opened(source: Source, channels: int, stride: int, note: Callable[[str], None]) -> AbstractContextManager[Frames]:
    if source.camera is None:
        return Video(source.path, channels, stride=stride, note=note)
    return Camera(source.camera, channels, stride=stride)


class _Drawing:
    """The files that are drawn into: a picture per image, a video per source that has frames."""

    def __init__(self, stack: ExitStack) -> None:
        self._outer = stack
        self._source: Source | None = None
        self._video: VideoFile | None = None
        self._inner = stack.enter_context(ExitStack())

    def add(self, frame: _Frame, target: Path, drawn: NDArray[np.uint8], stride: int) -> None:
        """Writes a picture, or adds a frame to the source's video, whose file was begun with its first frame."""
        if frame.source is not self._source:
            self._inner.close()  # the video before is whole
            self._source, self._video = frame.source, None
        if frame.frames is None:
            target.parent.mkdir(parents=True, exist_ok=True)
            with replaced_atomically(target) as temporary:
                write_image(temporary, drawn)
            return
        if self._video is None:
            is_camera = frame.source.camera is not None
            rate = frame.frames.frames_per_second / stride
            self._video = self._inner.enter_context(VideoFile(target, rate, keep=is_camera))
        self._video.append(drawn)
