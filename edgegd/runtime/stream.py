"""Many images through one model: several inferences at once on one session, results in the order of the images."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegd.runtime.contract import ModelContract
from edgegd.runtime.detector import Detections, Detector


class Stream:
    """An edgegd ONNX model for streams of images: `for found in stream(frames)` gives each image's detections.

    `workers` images are in work at once, each with `threads` of its own and an input of its own; onnxruntime runs them
    concurrently on one session. Up to `waiting` further images are taken from their source ahead of that, so memory
    does not grow with a stream. An image is not copied: whoever gives it must not write into it afterwards. `options`
    are those of Detector.

    Raises (on construction) what Detector raises, and ValueError for less than one worker or a negative `waiting`.
    """

    def __init__(
        self, path: str | Path, *, workers: int = 2, waiting: int = 2, threads: int = 1, **options: Any
    ) -> None:
        if workers < 1 or waiting < 0:
            raise ValueError(f"expected at least one worker and no negative waiting, found {workers} and {waiting}")
        first = Detector(path, threads=threads, **options)
        self.workers, self.waiting = workers, waiting
        self._detectors: queue.SimpleQueue[Detector] = queue.SimpleQueue()
        for detector in (first, *(Detector(path, session=first.session, **options) for _ in range(workers - 1))):
            self._detectors.put(detector)
        self.contract: ModelContract = first.contract

    def __call__(self, images: Iterable[NDArray[np.uint8]]) -> Iterator[Detections]:
        """The detections in each image, in the order of the images; images are taken as results are asked for.

        An image that Detector refuses raises its error in the place of its result. An error of the source comes after
        the results of all images before it. Either ends the stream, as closing the iterator does; images that are in
        work then are finished first.
        """
        pending: deque[Future[Detections]] = deque()
        with ThreadPoolExecutor(self.workers, "edgegd-stream") as pool:
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

    def _detect(self, image: NDArray[np.uint8]) -> Detections:
        detector = self._detectors.get()
        try:
            return detector(image)
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
