"""`edgegd predict` with strides, workers, cameras and windows. Oracle: the same frames one by one.

No test has a camera: OpenCV's capture of an index is a real one of a video file, or one that is scripted.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgegd.runtime import window
from edgegd.runtime.tuned import tuned_file

cv2 = pytest.importorskip("cv2")
pytest.importorskip("onnx")
pytest.importorskip("torch")

Command = Callable[..., Any]
FRAMES, SIZE = 9, (64, 96)


@pytest.fixture(scope="session")
def model(finished_run: Path) -> Path:
    return finished_run / "qat.edge.onnx"


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine frames, (64, 96), each of another brightness, 12 per second."""
    path = tmp_path_factory.mktemp("film") / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.0, SIZE[::-1])
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no videos")
    scene = cv2.resize(np.random.default_rng(0).integers(0, 180, (4, 6, 3), np.uint8), SIZE[::-1])
    for number in range(FRAMES):
        writer.write(scene + np.uint8(8 * number))
    writer.release()
    return path


def found_in(outcome: Any) -> list[dict[str, Any]]:
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)  # type: ignore[no-any-return]


def frames_of(path: Path) -> tuple[int, float]:
    """How many frames can be read of a video, and how many it has per second."""
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    return count, capture.get(cv2.CAP_PROP_FPS)


class Camera:
    """A capture by index: a film, again and again; or with `last`, until it fails or is interrupted."""

    def __init__(self, film: Path, last: int | None = None, how: str = "fails", is_open: bool = True) -> None:
        self.film, self.last, self.how, self.is_open = film, last, how, is_open
        self.real, self.opened, self.released, self.count = cv2.VideoCapture, [], 0, 0

    def __call__(self, source: str | int, kind: int = 0) -> Any:
        self.opened.append(source)
        if isinstance(source, str):
            return self.real(source, kind)
        self.inner = self.real(str(self.film))
        return self

    def isOpened(self) -> bool:
        return self.is_open

    def get(self, key: int) -> float:
        return 0.0  # cameras often tell nothing

    def grab(self) -> bool:
        return bool(self.read()[0])

    def read(self) -> tuple[bool, Any]:
        if self.count == self.last and self.how == "interrupted":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)  # the signal comes within it
        if self.count == self.last:
            return False, None
        self.count += 1
        done, frame = self.inner.read()
        if not done:
            self.inner = self.real(str(self.film))
            done, frame = self.inner.read()
        return done, frame

    def release(self) -> None:
        self.released += 1


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("stride", [1, 2, 4, 50])
def test_every_so_many_frames_by_any_number_of_workers(
    edgegd_command: Command, model: Path, film: Path, tmp_path: Path, stride: int, workers: int
) -> None:
    plain = found_in(edgegd_command("predict", model, film, "--json", "--conf", 0.001))
    assert len({json.dumps(one["detections"]) for one in plain}) > 1
    found = found_in(
        edgegd_command(
            *("predict", model, film, "--json", "--conf", 0.001, "--stride", stride, "--workers", workers),
            *("--save", tmp_path / "drawn.mp4", "--save", tmp_path / "found.jsonl"),
        )
    )
    assert [one["frame"] for one in found] == list(range(0, FRAMES, stride))
    assert [one["detections"] for one in found] == [one["detections"] for one in plain[::stride]]
    lines = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert lines == found and {one["saved"] for one in found} == {str(tmp_path / "drawn.mp4")}
    assert frames_of(tmp_path / "drawn.mp4") == (len(found), pytest.approx(12 / stride, rel=0.01))


def test_images_and_videos_in_one_stream_keep_their_order_and_files(
    edgegd_command: Command, model: Path, film: Path, tiny_set: Path, tmp_path: Path
) -> None:
    images = sorted((tiny_set / "images/val").iterdir())[:3]
    named = [images[0], film, images[1], shutil.copy(film, tmp_path / "second.avi"), images[2]]
    one, several = (
        edgegd_command("predict", model, *named, "--save", tmp_path / str(workers), "--timings", "--workers", workers)
        for workers in (1, 4)
    )
    assert one.code == several.code == 0, several.err
    assert several.out.splitlines()[:-1] == [
        line.replace(f"{tmp_path}/1/", f"{tmp_path}/4/") for line in one.out.splitlines()[:-1]
    ]
    assert several.out.splitlines()[-1].startswith(f"medians of {3 + 2 * FRAMES} images, ms: decode ")
    names = sorted(path.name for path in (tmp_path / "4").iterdir())
    assert names == sorted(["film.mp4", "second.mp4", *(f"{image.stem}.png" for image in images)])
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "4" / name).read_bytes()
    assert frames_of(tmp_path / "4/second.mp4")[0] == FRAMES


def test_an_unreadable_image_ends_a_stream_in_its_place(
    edgegd_command: Command, model: Path, tiny_set: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_text("no image")
    images = sorted((tiny_set / "images/val").iterdir())
    outcome = edgegd_command("predict", model, *images[:2], tmp_path / "broken.jpg", images[2], "--workers", 2)
    assert outcome.code == 23 and "broken.jpg" in outcome.err and outcome.err.count("edgegd:") == 1
    assert [line.split(":")[0] for line in outcome.out.splitlines() if not line.startswith(" ")] == [
        *map(str, images[:2])
    ]


@pytest.fixture
def interrupts() -> Iterator[Callable[[], None]]:
    """Makes Ctrl-C interrupt also where these tests run in the background, which ignores it."""
    before = signal.getsignal(signal.SIGINT)
    yield lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_is_the_end_of_a_camera(
    edgegd_command: Command,
    model: Path,
    film: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    interrupts: Callable[[], None],
    workers: int,
) -> None:
    camera = Camera(film, last=2 * FRAMES, how="interrupted")
    monkeypatch.setattr(cv2, "VideoCapture", camera)
    interrupts()
    saves = ("--save", tmp_path / "seen.mp4", "--save", tmp_path / "found.jsonl")
    outcome = edgegd_command("predict", model, "3", *saves, "--stride", 3, "--json", "--workers", workers)
    found = found_in(outcome)
    count = len(found)
    assert camera.opened[0] == 3 and camera.released == 1
    # What was in work at the moment of the signal may be lost; nothing that was told is.
    assert 6 - workers - 2 <= count <= 6 and [one["frame"] for one in found] == [*range(0, 18, 3)][:count]
    assert {one["image"] for one in found} == {"camera 3"}
    monkeypatch.undo()
    assert frames_of(tmp_path / "seen.mp4")[0] in (count, count + 1)  # drawn, and not told yet
    assert len((tmp_path / "found.jsonl").read_text().splitlines()) in (count, count + 1)


def test_a_camera_that_stops_is_an_error_that_keeps_what_it_saw(
    edgegd_command: Command, model: Path, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Camera(film, last=5))
    outcome = edgegd_command(
        "predict", model, "/dev/video7", "--save", tmp_path / "out", "--save", tmp_path / "f.jsonl"
    )
    assert outcome.code == 23 and "camera 7 gives no more images" in outcome.err and "found: 5 images" in outcome.err
    assert outcome.out.count("camera 7 frame ") == 5 and len((tmp_path / "f.jsonl").read_text().splitlines()) == 5
    monkeypatch.undo()
    assert frames_of(tmp_path / "out/camera-7.mp4") == (5, 25.0)


@pytest.mark.parametrize(("last", "is_open"), [(0, True), (None, False)], ids=["no frame", "not there"])
def test_a_camera_without_an_image_is_an_error_that_leaves_nothing(
    edgegd_command: Command,
    model: Path,
    film: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    last: int | None,
    is_open: bool,
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Camera(film, last=last, is_open=is_open))
    outcome = edgegd_command("predict", model, "0", "--save", tmp_path / "out")
    assert outcome.code == 23 and "camera 0 gives no images" in outcome.err and not list(tmp_path.iterdir())


def test_the_real_opencv_says_that_there_is_no_such_camera(edgegd_command: Command, model: Path) -> None:
    outcome = edgegd_command("predict", model, "97")
    assert outcome.code == 23 and "camera 97 gives no images" in outcome.err and outcome.err.count("\n") == 4


def test_a_number_that_is_a_file_is_the_file(
    edgegd_command: Command, model: Path, tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(sorted((tiny_set / "images/val").iterdir())[0], tmp_path / "0")
    monkeypatch.chdir(tmp_path)
    assert [one["image"] for one in found_in(edgegd_command("predict", model, "0", "--json"))] == ["0"]
    beside = edgegd_command("predict", model, "0", "5")
    assert beside.code == 21 and "camera 5 has no end" in beside.err


ENDLESS = """
import sys, cv2
from pathlib import Path
sys.path.insert(0, sys.argv.pop(1))
from test_predict_streams import Camera
cv2.VideoCapture = Camera(Path(sys.argv.pop(1)))
from edgegd.cli.main import main
main()
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_program_that_follows_a_camera_is_stopped_by_a_signal(
    model: Path, film: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    lines, video = tmp_path / "found.jsonl", tmp_path / "seen.mp4"
    command = [sys.executable, "-c", ENDLESS, Path(__file__).parent, film, "predict", model, "0", "--workers", "2"]
    process = subprocess.Popen(
        [*map(str, command), "--save", str(lines), "--save", str(video)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        end = time.monotonic() + 120
        while not (lines.exists() and lines.read_bytes().count(b"\n") >= 20) and process.poll() is None:
            assert time.monotonic() < end, "no lines came"
            time.sleep(0.05)
        process.send_signal(sent)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0 and err == "", err
    told = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [one["frame"] for one in told] == list(range(len(told))) and len(told) >= 20
    assert frames_of(video)[0] in (len(told), len(told) + 1)
    assert out.splitlines()[-1] == f"camera 0 -> {video}"


def test_without_a_screen_the_message_says_so(
    edgegd_command: Command, model: Path, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    if sys.platform.startswith("linux"):
        outcome = edgegd_command("predict", model, film, "--show", "--save", tmp_path / "out")
        assert outcome.code == 78 and "no screen" in outcome.err and "neither DISPLAY" in outcome.err
    monkeypatch.setenv("DISPLAY", ":93")  # where nobody listens; OpenCV may end its process
    outcome = edgegd_command("predict", model, film, "--show", "--save", tmp_path / "out")
    assert outcome.code == 78 and "leave --show out" in outcome.err and not list(tmp_path.iterdir())


def test_a_window_shows_every_drawn_frame_until_a_key_ends_it(
    edgegd_command: Command, model: Path, film: Path, tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, waited, keys = [], [], iter([-1, -1, -1, ord("q")])
    monkeypatch.setenv("DISPLAY", ":93")
    monkeypatch.setattr(window, "_TRY", "")  # the screen is there
    monkeypatch.setattr(cv2, "imshow", lambda name, image: shown.append(image.shape))
    monkeypatch.setattr(cv2, "waitKey", lambda ms: waited.append(ms) or next(keys))
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: shown.append("gone"))
    image = sorted((tiny_set / "images/val").iterdir())[0]
    found = found_in(edgegd_command("predict", model, image, film, "--show", "--json", "--workers", 2))
    assert [one.get("frame") for one in found] == [None, 0, 1, 2] and waited == [0, 1, 1, 1]
    assert shown == [cv2.imread(str(image)).shape, *[(*SIZE, 3)] * 3, "gone"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("{film}", "--save", "{tmp}/a.jsonl", "--save", "{tmp}/b.jsonl"), 2, "one .jsonl"),
        (("{film}", "--save", "{tmp}/a", "--save", "{tmp}/b.mp4"), 2, "one folder or .mp4"),
        (("{image}", "--save", "{tmp}/b.mp4"), 2, "one video or camera"),
        (("{film}", "{film}", "--save", "{tmp}/b.mp4"), 2, "one video or camera"),
        (("{film}", "--save", "{tmp}/mine/found.jsonl"), 26, "found.jsonl exists already"),
        (("{film}", "--save", "{tmp}/mine/link.mp4"), 26, "link.mp4 exists already"),
        (("{film}", "--stride", "0"), 2, "0 is not in the range"),
        (("{film}", "--workers", "0"), 2, "0 is not in the range"),
        (("{film}", "--threads", "many"), 2, "many"),
        (("{film}", "--threads", "tuned"), 77, "edgegd latency tune"),
        (("{film}", "--workers", "tuned"), 77, "edgegd latency tune"),
        (("{film}", "--workers", "tuned", "--threads", "2"), 2, "brings its own threads"),
        (("{film}", "--workers", "2", "--threads", "tuned"), 2, "brings its own threads"),
    ],
    ids=str,
)
def test_bad_options_are_one_message_and_change_nothing(
    edgegd_command: Command,
    model: Path,
    film: Path,
    tiny_set: Path,
    tmp_path: Path,
    contents: Callable[[Path], Any],
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    assert not tuned_file(model).exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/found.jsonl").write_text("mine")
    (tmp_path / "mine/link.mp4").symlink_to(tmp_path / "elsewhere")
    before = contents(tmp_path)
    image = sorted((tiny_set / "images/val").iterdir())[0]
    given = [one.format(film=film, tmp=tmp_path, image=image) for one in arguments]
    outcome = edgegd_command("predict", model, *given)
    assert outcome.code == code and said in outcome.err and "Traceback" not in outcome.err
    assert contents(tmp_path) == before and not (tmp_path / "elsewhere").exists()
