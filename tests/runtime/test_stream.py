"""Streams of images. Oracle: Detector, one image after the other."""

from __future__ import annotations

import contextlib
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgegd.runtime import Detector, Stream

MODEL = Path(__file__).parents[1] / "latency/baselines/streets-yolo26n/model.onnx"
SIZES = ((48, 64), (64, 48), (100, 100), (48, 64), (20, 300))


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    """Twenty images of several sizes."""
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (*SIZES[i % len(SIZES)], 3), dtype=np.uint8) for i in range(20)]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_are_those_of_a_detector_in_the_order_of_the_images(images: list[np.ndarray], workers: int) -> None:
    one, stream = Detector(MODEL, conf=0.001), Stream(MODEL, workers=workers, conf=0.001)
    expected = [one(image) for image in images]
    assert len({len(found) for found in expected} | {found.scores.tobytes() for found in expected}) > 10
    for _ in range(2):  # a stream may be used again
        found = list(stream(images))
        assert [f.xyxy.tobytes() for f in found] == [e.xyxy.tobytes() for e in expected]
        assert [f.scores.tobytes() for f in found] == [e.scores.tobytes() for e in expected]


def test_several_images_are_in_work_at_once_each_in_an_input_of_its_own(
    images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    both, seen, real = threading.Barrier(2, timeout=60), [], Detector.timed

    def timed(self: Detector, image: np.ndarray) -> object:
        both.wait()  # passes only where two are here
        seen.append((id(self), id(image)))
        return real(self, image)

    monkeypatch.setattr(Detector, "timed", timed)
    assert len(list(Stream(MODEL, workers=2)(images))) == len(images)
    assert len({detector for detector, _ in seen}) == 2
    assert sorted(image for _, image in seen) == sorted(map(id, images))  # no copies


@pytest.mark.parametrize("name", ["qat.onnx", "qat.edge.onnx"])
def test_no_frame_is_copied(finished_run: Path, name: str) -> None:
    """Frames of 48 MB each pass through less new memory than one of them has, in portable and edge files."""
    frames = [np.full((4000, 4000, 3), 40 * number, np.uint8) for number in range(3)]
    stream = Stream(finished_run / name, workers=2)
    assert stream.contract.preprocessing.takes_pixels is ("edge" in name)
    list(stream(frames[:2]))  # what is kept from call to call
    tracemalloc.start()
    try:
        found = list(stream(frames * 2))
        _, peak = tracemalloc.get_traced_memory()  # numpy's memory too, of which OpenCV makes its results
        assert peak < frames[0].nbytes / 4, f"{peak >> 20} MiB"
        kept = [frame.copy() for frame in frames]
        assert tracemalloc.get_traced_memory()[1] > 3 * frames[0].nbytes, "copies would be seen"
    finally:
        tracemalloc.stop()
    assert len(found) == 6 and all((frame == copy).all() for frame, copy in zip(frames, kept, strict=True))


def test_steps_are_timed_as_a_detector_times_them(images: list[np.ndarray]) -> None:
    stream = Stream(MODEL, workers=3)
    timed = list(stream.timed(images))
    assert [f.scores.tobytes() for f, _ in timed] == [f.scores.tobytes() for f in stream(images)]
    assert all(min(t.letterbox_ms, t.inference_ms, t.postprocess_ms) > 0 for _, t in timed)


def test_reading_letterbox_and_inference_of_different_images_overlap(
    images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one image is in the network, another is letterboxed and a third is read: each waits for the others here."""
    three, met, real = threading.Barrier(3, timeout=60), [], Detector.timed
    turn = iter(range(100))

    def meet() -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            three.wait()
            met.append(threading.current_thread().name)

    def timed(self: Detector, image: np.ndarray) -> object:
        if next(turn) < 2:
            meet()
        return real(self, image)

    def source() -> Iterator[np.ndarray]:
        for number, image in enumerate(images):
            if number == 2:
                meet()  # only passes where both workers are at it, before any result was taken
            yield image

    monkeypatch.setattr(Detector, "timed", timed)
    assert len(list(Stream(MODEL, workers=2, waiting=2)(source()))) == len(images)
    assert len(set(met)) == 3 and threading.current_thread().name in met


def test_no_more_images_are_taken_than_workers_and_waiting(images: list[np.ndarray]) -> None:
    taken = 0

    def source() -> Iterator[np.ndarray]:
        nonlocal taken
        for image in images:
            taken += 1
            yield image

    results = Stream(MODEL, workers=2, waiting=3)(source())
    for number in range(1, 6):
        next(results)
        assert taken <= number + 4
    results.close()
    assert taken < len(images)


def test_an_image_that_is_none_raises_in_its_place_and_ends_the_stream(images: list[np.ndarray]) -> None:
    results = Stream(MODEL, workers=2)([*images[:3], np.zeros((5, 5), np.uint8), *images[3:]])
    for _ in range(3):
        next(results)
    with pytest.raises(ValueError, match="expected a non-empty BGR image"):
        next(results)
    assert list(results) == []


def test_an_error_of_the_source_comes_after_the_results_before_it(images: list[np.ndarray]) -> None:
    def source() -> Iterator[np.ndarray]:
        yield from images[:3]
        raise OSError("the camera is gone")

    results = Stream(MODEL, workers=2, waiting=8)(source())
    assert len([next(results) for _ in range(3)]) == 3
    with pytest.raises(OSError, match="the camera is gone"):
        next(results)


def test_an_empty_source_and_impossible_numbers(images: list[np.ndarray]) -> None:
    assert list(Stream(MODEL)([])) == []
    for wrong in ({"workers": 0}, {"waiting": -1}):
        with pytest.raises(ValueError, match="at least one worker"):
            Stream(MODEL, **wrong)
    idle = [thread for thread in threading.enumerate() if thread.name.startswith("edgegd-stream")]
    assert idle == []
