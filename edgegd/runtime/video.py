"""Videos and cameras, one frame in memory at a time: read for detection, and written with boxes drawn."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegd.atomic_files import explaining_full_disk
from edgegd.errors import ChannelCountError, MissingExtraError, UnreadableImageError
from edgegd.runtime.opencv import require_opencv

_SILENT = 0  # LOG_LEVEL_SILENT (opencv2/core/utils/logger.defines.hpp)
_DEFAULT_FPS = 25.0  # where a file does not say


class Frames:
    """Frames of a capture of OpenCV; iterating yields each once, (H, W, channels) uint8, three channels in BGR.

    Every frame is an array of its own. `frames_per_second` is what the source says of itself, or 25; with a `stride`,
    of every so many frames the first is decoded and given. One channel is OpenCV's gray of the colours, as
    Ultralytics makes it. Use it in a `with` statement: the source is released.
    """

    def __init__(self, name: str, channels: int, stride: int, open_capture: Callable[[Any], Any]) -> None:
        """Raises ChannelCountError where `channels` is neither 1 nor 3, MissingExtraError without OpenCV."""
        if channels not in (1, 3):
            raise ChannelCountError(
                f"{name} is a video, but the model takes images of {channels} channels.",
                expected="a model of 3 or 1 channels",
                found=f"{channels}",
                mend="give it multispectral images (.tiff) instead",
            )
        self._cv2, self._channels, self._stride = require_opencv(), channels, stride
        self._capture = open_capture(self._cv2)
        if not self._capture.isOpened():
            raise self._no_frames(0)
        fps = float(self._capture.get(self._cv2.CAP_PROP_FPS))
        self.frames_per_second = fps if 0 < fps <= 1000 else _DEFAULT_FPS

    def _no_frames(self, given: int) -> UnreadableImageError:
        """Why there is no frame after so many."""
        raise NotImplementedError

    def _ended(self, given: int) -> None:
        """Called where the source gives no more frames."""
        raise NotImplementedError

    def __enter__(self) -> Frames:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.release()

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for number in itertools.count():
            if number % self._stride and self._capture.grab():  # without decoding
                continue
            done, frame = (False, None) if number % self._stride else self._capture.read()
            if not done or frame is None:
                self._ended(number)
                return
            yield self._converted(frame)

    def _converted(self, frame: Any) -> NDArray[np.uint8]:
        if self._channels == 3:
            return np.asarray(frame, np.uint8)
        return np.asarray(self._cv2.cvtColor(frame, self._cv2.COLOR_BGR2GRAY), np.uint8)[..., None]


class Video(Frames):
    """The frames of a video file, which ends. `note` is told where it ends long before what it says of itself.

    Raises, beside what Frames raises:
        UnreadableImageError: the file is no video that this OpenCV can read; or, when iterated, has no frame.
    """

    def __init__(
        self, path: Path, channels: int = 3, *, stride: int = 1, note: Callable[[str], None] = lambda text: None
    ) -> None:
        self._path, self._note = path, note
        super().__init__(str(path), channels, stride, self._open)
        self._announced = max(int(self._capture.get(self._cv2.CAP_PROP_FRAME_COUNT)), 0)

    def _open(self, cv2: Any) -> Any:
        _require_readable(self._path)
        return _opened_quietly(cv2, os.path.abspath(self._path), cv2.CAP_FFMPEG)

    def _no_frames(self, given: int) -> UnreadableImageError:
        return UnreadableImageError(
            f"{self._path}: the file is not a video that OpenCV can read, or is damaged",
            expected="a video file (.mp4, .avi, ...)",
            mend="replace or convert the file",
        )

    def _ended(self, given: int) -> None:
        if not given:
            raise self._no_frames(given)
        if self._announced > 1.02 * given + 1:
            self._note(
                f"{self._path}: {given} frames could be read, the file speaks of {self._announced}; it may be damaged"
            )


class Camera(Frames):
    """The frames of a camera by OpenCV's index, without an end.

    Raises, beside what Frames raises:
        UnreadableImageError: there is no such camera, another program has it; or, when iterated, it gives no more.
    """

    def __init__(self, index: int, channels: int = 3, *, stride: int = 1) -> None:
        self._index = index
        super().__init__(f"camera {index}", channels, stride, lambda cv2: _opened_quietly(cv2, index, cv2.CAP_ANY))

    def _no_frames(self, given: int) -> UnreadableImageError:
        return UnreadableImageError(
            f"camera {self._index} gives no {'more ' if given else ''}images",
            expected="a camera that OpenCV can read, and that no other program uses",
            found=f"{given} images" if given else "none",
            mend="check that it is plugged in, its number, and the right to read it (group `video` on Linux)",
        )

    def _ended(self, given: int) -> None:
        raise self._no_frames(given)


def _opened_quietly(cv2: Any, source: str | int, kind: int) -> Any:
    """OpenCV's capture of one kind, opened without the log lines of OpenCV and of its FFmpeg: our message says what is wrong."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # looked at when the first file is opened
    # Since OpenCV 5 in cv2.utils.logging; before, in cv2 itself.
    set_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel
    before = set_level(_SILENT)
    try:
        return cv2.VideoCapture(source, kind)
    finally:
        set_level(before)


def _require_readable(path: Path) -> None:
    try:
        with path.open("rb") as file:
            content = file.read(1)
    except OSError as error:
        raise UnreadableImageError(
            f"{path}: {error.strerror or error}", expected="a video file", mend="correct the path"
        ) from error
    if not content:
        raise UnreadableImageError(f"{path}: the file is empty", expected="a video file", mend="replace the file")


class VideoFile:
    """An MP4 file that frames (H, W, 3) uint8 BGR are appended to; all frames have the first one's size.

    It is written beside `path` and takes its name at the end; if anything fails, nothing is left, unless it is to
    `keep` what there is then: whoever stops a camera wants what it has seen. An odd side loses its last pixel row or
    column, which MPEG-4 has no place for.
    Raises MissingExtraError where this OpenCV cannot write MP4 files.
    """

    def __init__(self, path: Path, frames_per_second: float, *, keep: bool = False) -> None:
        self._path, self._fps, self._keep = path, frames_per_second, keep
        self._folder = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # OpenCV takes the kind from the suffix
        self._writer: Any = None
        self._size, self._frames = (0, 0), 0

    def __enter__(self) -> VideoFile:
        return self

    def append(self, frame: NDArray[np.uint8]) -> None:
        """Adds a frame."""
        cv2 = require_opencv()
        if self._writer is None:
            self._folder.mkdir(parents=True)
            self._size = (frame.shape[1], frame.shape[0])
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._folder / "video.mp4"), code, self._fps, self._size)
            if not self._writer.isOpened():
                raise MissingExtraError(
                    "this OpenCV cannot write MP4 videos.",
                    found="it has no FFmpeg",
                    mend="pip install opencv-python-headless, which brings one",
                )
        if (frame.shape[1], frame.shape[0]) != self._size:
            frame = cv2.resize(frame, self._size)
        self._writer.write(frame)
        self._frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._writer is not None:
                self._writer.release()
                if error is None or self._keep:
                    with explaining_full_disk(self._folder):
                        _require_whole(self._folder / "video.mp4", self._frames)
                    os.replace(self._folder / "video.mp4", self._path)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)


def _require_whole(path: Path, frames: int) -> None:
    """RuntimeError unless the file holds so many frames: OpenCV says nothing where a disk was full."""
    cv2 = require_opencv()
    capture = _opened_quietly(cv2, str(path.absolute()), cv2.CAP_FFMPEG)
    found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    capture.release()
    if found != frames:
        raise RuntimeError(f"the video could not be written: it holds {found} of {frames} frames")
