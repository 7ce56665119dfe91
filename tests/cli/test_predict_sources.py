"""`edgegd predict` on folders, patterns, lists and videos. Oracle: the same images named one by one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")
pytest.importorskip("onnx")
pytest.importorskip("torch")
Command = Callable[..., Any]
FRAMES, SIZE = 7, (64, 96)


@pytest.fixture(scope="session")
def model(finished_run: Path) -> Path:
    return finished_run / "qat.edge.onnx"


@pytest.fixture(scope="session")
def photos(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three images, with what does not count beside them: a text, a hidden image, an image in a folder."""
    folder = tmp_path_factory.mktemp("some photos")
    paths = sorted((tiny_set / "images/val").iterdir())
    for name, path in zip(("c.jpg", "a.jpg", "b.JPG"), paths, strict=False):
        shutil.copy(path, folder / name)
    (folder / "notes.md").write_text("no image")
    (folder / ".hidden.jpg").write_text("no image")
    (folder / "below").mkdir()
    shutil.copy(paths[3], folder / "below/d.jpg")
    return folder


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven frames, (64, 96), each of another brightness."""
    path = tmp_path_factory.mktemp("video") / "drive.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.5, SIZE[::-1])
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no videos")
    scene = cv2.resize(np.random.default_rng(0).integers(0, 200, (4, 6, 3), np.uint8), SIZE[::-1])
    for number in range(FRAMES):
        writer.write(scene + np.uint8(8 * number))
    writer.release()
    return path


def _found(outcome: Any) -> list[dict[str, Any]]:
    assert outcome.code == 0, outcome.err
    results: list[dict[str, Any]] = json.loads(outcome.out)
    return results


def _frames(path: Path) -> list[np.ndarray]:
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        done, frame = capture.read()
        if not done:
            return frames
        frames.append(frame)


def test_a_folder_is_its_images_by_name(edgegd_command: Command, model: Path, photos: Path) -> None:
    expected = _found(
        edgegd_command("predict", model, *(photos / name for name in ("a.jpg", "b.JPG", "c.jpg")), "--json")
    )
    assert _found(edgegd_command("predict", model, photos, "--json")) == expected and len(expected) == 3
    assert _found(edgegd_command("predict", model, photos / "[ab].*", photos / "c*", "--json")) == expected
    below = _found(edgegd_command("predict", model, photos / "**/*.jpg", "--json"))
    assert [Path(one["image"]).name for one in below] == ["a.jpg", "d.jpg", "c.jpg"]


def test_a_list_names_images_folders_and_patterns(
    edgegd_command: Command, model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(photos / "a.jpg", "here.jpg")
    (photos / "list.txt").write_text(f"\ufeffa.jpg\r\n\n  {photos}/b*  \nbelow\nhere.jpg\n", encoding="utf-8")
    found = _found(edgegd_command("predict", model, photos / "list.txt", "--json"))
    assert [Path(one["image"]) for one in found] == [
        photos / "a.jpg",
        photos / "b.JPG",
        photos / "below/d.jpg",
        Path("here.jpg"),
    ]
    (photos / "list.txt").unlink()


@pytest.mark.parametrize("name", ["photo[1].jpg", "50%.jpg", "a b.jpg", "stern*.jpg", "grüße.jpg"])
def test_a_file_is_itself_whatever_its_name(
    edgegd_command: Command, model: Path, photos: Path, tmp_path: Path, name: str
) -> None:
    path = Path(shutil.copy(photos / "a.jpg", tmp_path / name))
    assert [one["image"] for one in _found(edgegd_command("predict", model, path, "--json"))] == [str(path)]


def test_a_video_is_its_frames(edgegd_command: Command, model: Path, video: Path, tmp_path: Path) -> None:
    images = []
    for number, frame in enumerate(_frames(video)):
        images.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(images[-1]), frame)
    drawn = tmp_path / "drawn"
    outcome = edgegd_command("predict", model, video, images[0], "--json", "--conf", 0.3, "--save", drawn)
    found = _found(outcome)
    expected = _found(edgegd_command("predict", model, *images, "--json", "--conf", 0.3))
    assert [one.get("frame") for one in found] == [*range(FRAMES), None] and not outcome.err
    assert [one["detections"] for one in found[:FRAMES]] == [one["detections"] for one in expected]
    assert len({json.dumps(one["detections"]) for one in expected}) > 1
    assert {one["saved"] for one in found} == {str(drawn / "drive.mp4"), str(drawn / "0.png")}
    assert sorted(path.name for path in drawn.iterdir()) == ["0.png", "drive.mp4"]
    written = _frames(drawn / "drive.mp4")
    assert len(written) == FRAMES and written[0].shape == (*SIZE, 3)
    assert cv2.VideoCapture(str(drawn / "drive.mp4")).get(cv2.CAP_PROP_FPS) == 12.5


def test_a_gif_is_a_video(edgegd_command: Command, model: Path, video: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pictures = [image.fromarray(frame[:61, :, ::-1]) for frame in _frames(video)[:3]]  # 61 rows: an odd side
    pictures[0].save(tmp_path / "moving.gif", save_all=True, append_images=pictures[1:], duration=80)
    found = _found(edgegd_command("predict", model, tmp_path, "--json", "--save", tmp_path / "drawn"))
    assert [(Path(one["image"]).name, one["frame"]) for one in found] == [("moving.gif", number) for number in range(3)]
    assert len(_frames(tmp_path / "drawn/moving.mp4")) == 3


def test_a_video_that_a_full_disk_cut_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil as disk

    from edgegd.errors import NoSpaceError
    from edgegd.runtime.video import VideoFile

    frame = np.zeros((*SIZE, 3), np.uint8)
    for name, free in (("full.mp4", 0), ("other.mp4", 1 << 40)):
        monkeypatch.setattr(disk, "disk_usage", lambda _, free=free: disk._ntuple_diskusage(1 << 41, 0, free))
        with pytest.raises(NoSpaceError if free == 0 else RuntimeError), VideoFile(tmp_path / name, 25.0) as file:
            file.append(frame)
            file._frames += 1  # as if a frame had not reached the disk
    assert not list(tmp_path.iterdir())


def test_a_video_in_words_with_timings(edgegd_command: Command, model: Path, video: Path, tmp_path: Path) -> None:
    outcome = edgegd_command("predict", model, video, "--timings", "--save", tmp_path)
    lines = outcome.out.splitlines()
    assert outcome.code == 0 and lines[0].startswith(f"{video} frame 0: ")
    assert lines[-2] == f"{video} -> {tmp_path / 'drive.mp4'}"
    assert lines[-1].startswith(f"medians of {FRAMES} images, ms: decode ")


def test_a_video_cut_short_is_told(edgegd_command: Command, model: Path, video: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.avi"
    cut.write_bytes(video.read_bytes()[: int(video.stat().st_size * 0.5)])
    outcome = edgegd_command("predict", model, cut, "--json")
    if outcome.code == 0:
        assert 0 < len(_found(outcome)) < FRAMES
        assert f"the file speaks of {FRAMES}; it may be damaged" in outcome.err
    else:
        assert outcome.code == 23 and "cut.avi" in outcome.err


def test_frames_come_one_by_one(model: Path, video: Path) -> None:
    from edgegd.runtime.annotate import detect_in
    from edgegd.runtime.detector import Detector
    from edgegd.runtime.sources import Source

    results = detect_in(Detector(model), [Source(video, is_video=True)], [None], print)
    assert next(results).frame == 0 and next(results).frame == 1
    results.close()  # a caller may stop early


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda f: f / "absent.jpg", 23, "absent.jpg: no such file or folder"),
        (lambda f: f / "absent*.jpg", 21, "the pattern {f}/absent*.jpg holds no images"),
        (lambda f: f / "empty", 21, "the folder {f}/empty holds no images"),
        (lambda f: f / "texts", 21, "the folder {f}/texts holds no images"),
        (lambda f: f / "empty.txt", 21, "the list {f}/empty.txt is empty"),
        (lambda f: f / "blank.txt", 21, "the list {f}/blank.txt is empty"),
        (lambda f: f / "wrong.txt", 23, "{f}/wrong.txt:2: {f}/nothing.jpg: no such file or folder"),
        (lambda f: f / "latin.txt", 21, "the list {f}/latin.txt cannot be read"),
        (lambda f: f / "text.mp4", 23, "text.mp4: the file is not a video"),
        (lambda f: f / "empty.mp4", 23, "empty.mp4: the file is empty"),
        (lambda f: f / "broken.jpg", 23, "broken.jpg: "),
        (lambda f: f / "gone.jpg", 23, "gone.jpg: No such file or directory"),
        (lambda f: f / "folder.mp4", 21, "the folder {f}/folder.mp4 holds no images"),
        (lambda f: "", 23, "an empty name: no such file or folder"),
        (lambda f: "/dev/zero", 23, "/dev/zero: neither a file nor a folder"),
    ],
    ids=range(15),
)
def test_bad_input_is_one_message(
    edgegd_command: Command,
    model: Path,
    photos: Path,
    tmp_path: Path,
    make: Callable[[Path], Any],
    code: int,
    words: str,
) -> None:
    for folder in ("empty", "texts", "folder.mp4"):
        (tmp_path / folder).mkdir()
    for name, content in {
        "texts/a.md": b"text",
        "empty.txt": b"",
        "blank.txt": b"\n \n",
        "text.mp4": b"no video",
        "wrong.txt": f"{photos}/a.jpg\nnothing.jpg\n".encode(),
        "latin.txt": b"stra\xdfe.jpg",
        "empty.mp4": b"",
        "broken.jpg": b"no image",
    }.items():
        (tmp_path / name).write_bytes(content)
    os.symlink(tmp_path / "nowhere", tmp_path / "gone.jpg")
    outcome = edgegd_command("predict", model, make(tmp_path), "--save", tmp_path / "drawn", "--json")
    assert outcome.code == code and words.format(f=tmp_path) in outcome.err
    assert outcome.err.count("edgegd:") == 1 and outcome.err.startswith("edgegd:") and not (tmp_path / "drawn").exists()
    assert json.loads(outcome.out)["exit_code"] == code


def test_a_broken_video_leaves_nothing_and_says_so_alone(model: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    (tmp_path / "broken.mp4").write_bytes(b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(range(256)) * 8)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "edgegd.cli.main",
            "predict",
            model,
            tmp_path / "broken.mp4",
            "--save",
            tmp_path / "drawn",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 23 and done.stderr.startswith(f"edgegd: {tmp_path}/broken.mp4: ")
    assert "moov" not in done.stderr and sorted(path.name for path in tmp_path.iterdir()) == ["broken.mp4"]


def test_a_video_is_not_overwritten(edgegd_command: Command, model: Path, video: Path, tmp_path: Path) -> None:
    (tmp_path / "drive.mp4").write_text("mine")
    outcome = edgegd_command("predict", model, video, "--save", tmp_path)
    assert outcome.code == 26 and (tmp_path / "drive.mp4").read_text() == "mine"


def test_a_list_of_any_length_is_the_json_of_the_whole() -> None:
    from edgegd.runtime.results import JsonList

    for values in ([], [1], [{"a": "ä"}, None, [1.5]], [{"text": "x" * 1000}] * 3000):
        results = JsonList()
        for value in values:
            results.append(value)
        assert "".join(results.parts()) == json.dumps(values)
