"""Outputs go where they were asked for, into files that are theirs, and never through a link."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgegd.atomic_files import write_atomically
from edgegd.data.download import download_file
from edgegd.errors import FileAccessError, OutputFileError, RunFolderMismatchError, WouldOverwriteError
from edgegd.latency.baseline.baseline import Baseline
from edgegd.latency.baseline.history import HistoryEntry, append_history
from edgegd.pipeline.run_folder import RunFolder
from edgegd.recipe.schema import Recipe
from edgegd.safe_outputs import check_outputs, open_to_append, own_folder, require_appendable

Command = Callable[..., Any]
MODEL = Path(__file__).parent / "latency/baselines/streets-yolo26n/model.onnx"
SOMEBODYS = b"somebody's\n"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A file of the user's, outside everything that a command may write to."""
    file = tmp_path / "elsewhere" / "precious.txt"
    file.parent.mkdir()
    file.write_bytes(SOMEBODYS)
    return file


def untouched(file: Path) -> bool:
    return file.read_bytes() == SOMEBODYS and [path.name for path in file.parent.iterdir()] == [file.name]


# Links.


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", Recipe(), "a/recipe")


def test_the_lock_of_a_run_folder(folder: RunFolder, elsewhere: Path) -> None:
    (folder.path / ".lock").unlink()
    (folder.path / ".lock").symlink_to(elsewhere)
    with pytest.raises(OutputFileError, match="link"), folder.locked():
        pass
    assert untouched(elsewhere)


def test_a_hard_link_as_lock(folder: RunFolder, elsewhere: Path) -> None:
    (folder.path / ".lock").unlink()
    os.link(elsewhere, folder.path / ".lock")
    with pytest.raises(RunFolderMismatchError, match="lock"), folder.locked():
        pass
    assert untouched(elsewhere)


def test_the_lock_holds_the_process(folder: RunFolder) -> None:
    for _ in range(2):
        with folder.locked():
            assert (folder.path / ".lock").read_text() == str(os.getpid())


def test_manifests_that_are_a_link(folder: RunFolder, elsewhere: Path) -> None:
    (folder.path / "manifests").symlink_to(elsewhere.parent)
    with pytest.raises(OutputFileError, match="link"):
        folder.write_json("manifests/data.json", {})
    with pytest.raises(OutputFileError, match="link"), folder.locked():
        pass
    assert untouched(elsewhere)


def test_leftovers_are_not_looked_for_behind_a_link(folder: RunFolder, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / ".a.json.1.tmp").write_bytes(SOMEBODYS)
    (folder.path / "manifests").symlink_to(other)
    with pytest.raises(OutputFileError, match="link"), folder.locked():
        pass
    assert (other / ".a.json.1.tmp").read_bytes() == SOMEBODYS


def test_an_artifact_that_is_a_link_is_replaced_itself(folder: RunFolder, elsewhere: Path) -> None:
    (folder.path / "data.json").symlink_to(elsewhere)
    folder.write_json("data.json", {})
    assert untouched(elsewhere) and not (folder.path / "data.json").is_symlink()


def test_a_temporary_name_that_is_a_link(tmp_path: Path, elsewhere: Path) -> None:
    (tmp_path / f".a.json.{os.getpid()}.tmp").symlink_to(elsewhere)
    write_atomically(tmp_path / "a.json", b"{}")
    assert untouched(elsewhere) and (tmp_path / "a.json").read_bytes() == b"{}"


def test_leftovers_of_a_training_that_are_a_link(folder: RunFolder, elsewhere: Path) -> None:
    (folder.path / ".float-old").symlink_to(elsewhere.parent)
    with folder.locked():
        assert not os.path.lexists(folder.path / ".float-old")
    assert untouched(elsewhere)


def test_a_file_to_append_to(tmp_path: Path, elsewhere: Path) -> None:
    (tmp_path / "log").symlink_to(elsewhere)
    (tmp_path / "nowhere").symlink_to(tmp_path / "new")
    for name in ("log", "nowhere"):
        with pytest.raises(OutputFileError, match="link"):
            open_to_append(tmp_path / name)
    with open_to_append(tmp_path / "own") as file:
        file.write("a line\n")
    assert untouched(elsewhere) and not (tmp_path / "new").exists() and (tmp_path / "own").read_text() == "a line\n"


def test_the_history_of_a_baseline(tmp_path: Path, elsewhere: Path) -> None:
    baseline = Baseline.set(MODEL, "b", static={}, root=tmp_path)
    (baseline.folder / "history.jsonl").symlink_to(elsewhere)
    with pytest.raises(OutputFileError, match="link"):
        append_history(baseline, HistoryEntry("now", "local", "f", 1.0, 1.0, 1.0, "PASS", "c", "b"))
    assert untouched(elsewhere)


def test_a_baseline_whose_folder_is_a_link(tmp_path: Path, elsewhere: Path) -> None:
    (tmp_path / "b").symlink_to(elsewhere.parent)
    with pytest.raises(OutputFileError, match="link"):
        Baseline.set(MODEL, "b", static={}, root=tmp_path, force=True)
    assert untouched(elsewhere)


def test_a_folder_that_is_a_link_or_a_file(tmp_path: Path, elsewhere: Path) -> None:
    (tmp_path / "link").symlink_to(elsewhere.parent)
    for path in (tmp_path / "link", elsewhere, elsewhere / "below"):
        with pytest.raises(OutputFileError):
            own_folder(path)
    assert own_folder(tmp_path / "a" / "b").is_dir() and untouched(elsewhere)


def test_a_download_beside_a_link(tmp_path: Path, elsewhere: Path) -> None:
    (tmp_path / "x.zip.partial").symlink_to(elsewhere)
    source = tmp_path / "source"
    source.write_bytes(b"content")
    download_file(source.as_uri(), tmp_path / "x.zip", instructions="")
    assert untouched(elsewhere) and (tmp_path / "x.zip").read_bytes() == b"content"


# Outputs that a user names.


def kind(head: bytes) -> bool:
    return head.startswith(b"OURS")


def refuse(output: Path, *inputs: Path) -> None:
    check_outputs({"--output": (output, kind)}, inputs)


def test_what_an_output_may_be(tmp_path: Path) -> None:
    (tmp_path / "ours").write_text("OURS, of yesterday")
    (tmp_path / "empty").touch()
    for name in ("new", "ours", "empty", "not/there/yet"):
        refuse(tmp_path / name, tmp_path / "an input that is missing")
    check_outputs({"--output": (None, kind)}, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "ours"]


def test_what_an_output_may_not_be(tmp_path: Path, elsewhere: Path) -> None:
    ours = tmp_path / "ours"
    ours.write_text("OURS")
    (tmp_path / "link").symlink_to(ours)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.link(ours, tmp_path / "hard")
    os.mkfifo(tmp_path / "pipe")
    for output in (
        elsewhere,
        tmp_path,
        ours,
        tmp_path / "hard",
        tmp_path / "link",
        tmp_path / "dangling",
        tmp_path / "pipe",
        elsewhere / "x.png",
    ):
        with pytest.raises(OutputFileError, match=r"--output|link"):
            refuse(output, ours)
    with pytest.raises(OutputFileError, match="one file"):
        check_outputs({"--junit": (tmp_path / "new", kind), "--markdown": (tmp_path / "new", kind)}, [])
    assert untouched(elsewhere) and ours.read_text() == "OURS"


def test_a_folder_that_cannot_be_written_to() -> None:
    with pytest.raises(FileAccessError, match="/proc"):
        refuse(Path("/proc/new/x.png"))  # root may not write there either
    with pytest.raises(FileAccessError, match="/proc"):
        require_appendable(Path("/proc/history.jsonl"))


def test_what_can_be_appended_to(tmp_path: Path, elsewhere: Path) -> None:
    require_appendable(tmp_path / "new")
    require_appendable(elsewhere)
    (tmp_path / "link").symlink_to(elsewhere)
    with pytest.raises(OutputFileError, match="link"):
        require_appendable(tmp_path / "link")
    assert untouched(elsewhere) and not (tmp_path / "new").exists()


# The commands; those of latency and gates are in tests/latency/test_command_outputs.py.


def test_predict_does_not_save_over_a_link_that_leads_nowhere(tmp_path: Path, edgegd_command: Command) -> None:
    cv2, np = pytest.importorskip("cv2"), pytest.importorskip("numpy")
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((32, 32, 3), np.uint8))
    (tmp_path / "drawn").mkdir()
    (tmp_path / "drawn/a.png").symlink_to(tmp_path / "nowhere")
    outcome = edgegd_command("predict", MODEL, tmp_path / "a.jpg", "--save", tmp_path / "drawn")
    assert outcome.code == WouldOverwriteError.exit_code and not (tmp_path / "nowhere").exists()
