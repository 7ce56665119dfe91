"""The data set on disk: what is written is what was rendered, all of it or nothing."""

from __future__ import annotations

import errno
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from edgegd.data.streets import CLASS_NAMES, generate, make_streets, render_scene
from edgegd.errors import NoSpaceError, WouldOverwriteError

HALF_LABEL_UNIT_PX = 480 * 2e-6  # labels carry six decimals of the width; a corner sums two rounded numbers


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_streets(tmp_path_factory.mktemp("data") / "streets", train=4, val=2, seed=5)


def test_the_folder_has_the_layout_that_the_yaml_names(made: Path) -> None:
    content = yaml.safe_load(made.read_text())
    assert made.name == "streets.yaml"
    assert "path" not in content
    assert content["names"] == dict(enumerate(CLASS_NAMES))
    for split, count in (("train", 4), ("val", 2)):
        images = sorted((made.parent / content[split]).iterdir())
        assert [p.name for p in images] == [f"{i:06d}.jpg" for i in range(count)]
        assert [p.name for p in sorted((made.parent / "labels" / split).iterdir())] == [
            f"{i:06d}.txt" for i in range(count)
        ]


def test_labels_parse_back_to_the_boxes_and_images_to_the_picture(made: Path) -> None:
    for split, index in (("train", 0), ("train", 3), ("val", 1)):
        scene = render_scene(generate.scene_rng(5, split, index))
        rows = np.loadtxt(made.parent / "labels" / split / f"{index:06d}.txt", ndmin=2)
        centre, size = rows[:, 1:3] * (480, 320), rows[:, 3:] * (480, 320)
        np.testing.assert_array_equal(rows[:, 0], scene.class_ids)
        np.testing.assert_allclose(
            np.hstack([centre - size / 2, centre + size / 2]), scene.boxes, atol=HALF_LABEL_UNIT_PX
        )
        image = cv2.imread(str(made.parent / "images" / split / f"{index:06d}.jpg"))
        assert image is not None
        assert np.abs(image.astype(int) - scene.image).mean() < 5  # JPEG of quality 92 on a noisy picture


def test_the_same_parameters_give_the_same_bytes_and_another_seed_others(made: Path, tmp_path: Path) -> None:
    again = _files(make_streets(tmp_path / "again", train=4, val=2, seed=5).parent)
    assert again == _files(made.parent)
    other = _files(make_streets(tmp_path / "other", train=4, val=2, seed=6).parent)
    assert all(other[name] != content for name, content in again.items() if name.endswith(".jpg"))


def test_a_larger_set_starts_with_the_images_of_a_smaller_one(made: Path, tmp_path: Path) -> None:
    larger = _files(make_streets(tmp_path / "larger", train=5, val=1, seed=5).parent)
    smaller = _files(made.parent)
    shared = [name for name in smaller if name in larger and name.endswith((".jpg", ".txt"))]
    assert len(shared) == 2 * (4 + 1)
    assert all(larger[name] == smaller[name] for name in shared)


def test_train_and_val_share_no_image(made: Path) -> None:
    images = [content for name, content in _files(made.parent).items() if name.endswith(".jpg")]
    assert len(set(images)) == 6


def test_a_set_that_is_there_is_left_as_it_is(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("rendered again")

    monkeypatch.setattr(generate, "render_scene", refuse)
    before = {p: p.stat().st_mtime_ns for p in made.parent.rglob("*")}
    assert make_streets(made.parent, train=4, val=2, seed=5) == made
    assert {p: p.stat().st_mtime_ns for p in made.parent.rglob("*")} == before


@pytest.mark.parametrize("changed", [{"train": 5}, {"val": 3}, {"seed": 6}], ids=["train", "val", "seed"])
def test_a_set_of_other_parameters_is_not_overwritten(made: Path, changed: dict[str, int]) -> None:
    before = _files(made.parent)
    with pytest.raises(WouldOverwriteError, match="another folder"):
        make_streets(made.parent, **{"train": 4, "val": 2, "seed": 5, **changed})
    assert _files(made.parent) == before


@pytest.mark.parametrize("name", ["notes.txt", "streets.yaml"])
def test_a_users_files_are_not_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine: [unfinished")
    with pytest.raises(WouldOverwriteError):
        make_streets(tmp_path, train=1, val=1)
    assert _files(tmp_path) == {name: b"mine: [unfinished"}


def test_a_file_of_that_name_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "streets").write_text("mine")
    with pytest.raises(WouldOverwriteError):
        make_streets(tmp_path / "streets", train=1, val=1)
    assert (tmp_path / "streets").read_text() == "mine"


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "streets").mkdir()
    assert make_streets(tmp_path / "streets", train=1, val=1).is_file()


def test_an_interrupted_generation_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        assert total == 3
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_streets(tmp_path / "streets", train=2, val=1, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name == "000001.jpg":
            raise OSError(errno.ENOSPC, "No space left on device")
        return written(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(NoSpaceError, match="free some space"):
        make_streets(tmp_path / "streets", train=2, val=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("theirs", ["the same set", "a file"])
def test_what_another_process_puts_there_meanwhile_is_kept(tmp_path: Path, theirs: str) -> None:
    target = tmp_path / "streets"

    def race(done: int, total: int) -> None:
        if theirs == "the same set":
            make_streets(target, train=1, val=0)
        else:
            target.mkdir()
            (target / "mine.txt").write_text("mine")

    if theirs == "the same set":
        assert make_streets(target, train=1, val=0, progress=race) == target / "streets.yaml"
    else:
        with pytest.raises(WouldOverwriteError):
            make_streets(target, train=1, val=0, progress=race)
        assert _files(target) == {"mine.txt": b"mine"}
    assert [p.name for p in tmp_path.iterdir()] == ["streets"]


def test_progress_counts_every_image(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    make_streets(tmp_path / "streets", train=2, val=1, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]
