"""Many images through one model: several inferences at once on one session, results in the order of the images."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegd.device.threads import ThreadSetting, bind
from edgegd.runtime.contract import ModelContract
from edgegd.runtime.detector import Detections, Detector, Timings, warn_of_saturation
from edgegd.runtime.tuned import open_session, read_tuned, setting_of


class Stream:
    """An edgegd ONNX model for streams of images: `for found in stream(frames)` gives each image's detections.

    `workers` images are in work at once (two, where nothing is said), each with an input of its own; onnxruntime runs
    them concurrently on one session, whose further `threads` serve all of them. Reading of the source, letterbox,
    inference and decoding of different images overlap. `threads="tuned"` takes both numbers as `edgegd latency tune`
    found them best for images per second; `threads` and `spinning` are otherwise those of Detector. Up to `waiting` further images are taken from their source ahead of that, so memory
    does not grow with a stream. An image is not copied: whoever gives it must not write into it afterwards. `options`
    are those of Detector.

    Raises (on construction) what Detector raises, and ValueError for less than one worker, a negative `waiting`, or
    `workers` beside tuned threads, which bring their own.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        workers: int | None = None,
        waiting: int = 2,
        threads: int | str | ThreadSetting = 1,
        spinning: bool | None = None,
        **options: Any,
    ) -> None:
        if (workers is not None and workers < 1) or waiting < 0:
            raise ValueError(f"expected at least one worker and no negative waiting, found {workers} and {waiting}")
        if workers is not None and not isinstance(threads, int):
            raise ValueError(f"a setting of threads has workers of its own: leave workers={workers} out")
        setting = setting_of(threads, spinning, lambda: read_tuned(path).throughput)
        if isinstance(threads, int):
            setting = replace(setting, workers=2 if workers is None else workers)
        self.threads, self.workers, self.waiting = setting, setting.workers, waiting
        session = open_session(path, setting)
        self._detectors: queue.SimpleQueue[Detector] = queue.SimpleQueue()
        for _ in range(self.workers):
            detector = Detector(path, session=session, threads=setting, **options)
            self._detectors.put(detector)
        warn_of_saturation(path, detector.contract)
        self.contract: ModelContract = detector.contract

    def __call__(self, images: Iterable[NDArray[np.uint8]]) -> Iterator[Detections]:
        """The detections in each image, in the order of the images; images are taken as results are asked for.

        An image that Detector refuses raises its error in the place of its result. An error of the source comes after
        the results of all images before it. Either ends the stream, as closing the iterator does; images that are in
        work then are finished first.
        """
        return (found for found, _ in self.timed(images))

    def timed(self, images: Iterable[NDArray[np.uint8]]) -> Iterator[tuple[Detections, Timings]]:
        """The detections as a call gives them, and how long each step took; steps of several images run at once."""
        pending: deque[Future[tuple[Detections, Timings]]] = deque()
        with ThreadPoolExecutor(self.workers, "edgegd-stream", bind, (self.threads.cores,)) as pool:
            try:
                for image in _until_error(iter(images), ended := _Ended()):
                    pending.append(pool.submit(self._detect, image))
                    if len(pending) >= self.workers + self.waiting:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
                if ended.by is not None:
                    raise ended.by
            finally:
                for future in pending:
                    future.cancel()

    def _detect(self, image: NDArray[np.uint8]) -> tuple[Detections, Timings]:
        detector = self._detectors.get()
        try:
            return detector.timed(image)
        finally:
            self._detectors.put(detector)


class _Ended:
    """How a source ended: by an error, or by itself."""

    by: Exception | None = None


def _until_error(images: Iterator[NDArray[np.uint8]], ended: _Ended) -> Iterator[NDArray[np.uint8]]:
    try:
        yield from images
    except Exception as error:
        ended.by = error
