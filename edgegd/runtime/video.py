"""Video files, one frame in memory at a time: read for detection, and written with boxes drawn."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
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


class Video:
    """The frames of a video file; iterating yields each once, (H, W, channels) uint8, three channels in BGR.

    `frames_per_second` and `announced_frames` are what the file says of itself (0 where it says nothing). One channel
    is OpenCV's gray of the colours, as Ultralytics makes it.

    Raises:
        ChannelCountError: `channels` is neither 1 nor 3: a video holds no other bands.
        UnreadableImageError: the file is no video that this OpenCV can read; or, when iterated, has no frame.
        MissingExtraError: OpenCV is not installed.
    """

    def __init__(self, path: Path, channels: int = 3) -> None:
        if channels not in (1, 3):
            raise ChannelCountError(
                f"{path} is a video, but the model takes images of {channels} channels.",
                expected="a model of 3 or 1 channels",
                found=f"{channels}",
                mend="give it multispectral images (.tiff) instead",
            )
        self._cv2, self._path, self._channels = require_opencv(), path, channels
        _require_readable(path)
        self._capture = _opened_quietly(self._cv2, os.path.abspath(path))
        if not self._capture.isOpened():
            raise _no_video(path)
        fps = float(self._capture.get(self._cv2.CAP_PROP_FPS))
        self.frames_per_second = fps if 0 < fps <= 1000 else _DEFAULT_FPS
        self.announced_frames = max(int(self._capture.get(self._cv2.CAP_PROP_FRAME_COUNT)), 0)

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.release()

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        is_empty = True
        while True:
            done, frame = self._capture.read()
            if not done or frame is None:
                break
            is_empty = False
            yield self._converted(frame)
        if is_empty:
            raise _no_video(self._path)

    def _converted(self, frame: Any) -> NDArray[np.uint8]:
        if self._channels == 3:
            return np.asarray(frame, np.uint8)
        return np.asarray(self._cv2.cvtColor(frame, self._cv2.COLOR_BGR2GRAY), np.uint8)[..., None]


def _opened_quietly(cv2: Any, path: str) -> Any:
    """OpenCV's capture, opened without the log lines of OpenCV and of its FFmpeg: our message says what is wrong."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # looked at when the first file is opened
    # Since OpenCV 5 in cv2.utils.logging; before, in cv2 itself.
    set_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel
    before = set_level(_SILENT)
    try:
        return cv2.VideoCapture(path, cv2.CAP_FFMPEG)
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


def _no_video(path: Path) -> UnreadableImageError:
    return UnreadableImageError(
        f"{path}: the file is not a video that OpenCV can read, or is damaged",
        expected="a video file (.mp4, .avi, ...)",
        mend="replace or convert the file",
    )


class VideoFile:
    """An MP4 file that frames (H, W, 3) uint8 BGR are appended to; all frames have the first one's size.

    It is written beside `path` and takes its name at the end; if anything fails, nothing is left. An odd side loses its
    last pixel row or column, which MPEG-4 has no place for.
    Raises MissingExtraError where this OpenCV cannot write MP4 files.
    """

    def __init__(self, path: Path, frames_per_second: float) -> None:
        self._path, self._fps = path, frames_per_second
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
                if error is None:
                    with explaining_full_disk(self._folder):
                        _require_whole(self._folder / "video.mp4", self._frames)
                    os.replace(self._folder / "video.mp4", self._path)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)


def _require_whole(path: Path, frames: int) -> None:
    """RuntimeError unless the file holds so many frames: OpenCV says nothing where a disk was full."""
    cv2 = require_opencv()
    capture = _opened_quietly(cv2, str(path.absolute()))
    found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    capture.release()
    if found != frames:
        raise RuntimeError(f"the video could not be written: it holds {found} of {frames} frames")
