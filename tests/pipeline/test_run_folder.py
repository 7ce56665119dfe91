"""Files of a run are whole or as they were: after failures, kills and on a full disk; oracle: the bytes before."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgegd.atomic_files import explaining_full_disk, write_atomically
from edgegd.errors import NoSpaceError
from edgegd.pipeline import run_folder
from edgegd.pipeline.run_folder import RunFolder
from edgegd.recipe.schema import Recipe


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if not made or made.returncode:
        pytest.skip("this user may not mount a small file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_leaves_the_old_artifact(small_disk: Path) -> None:
    path = small_disk / "model.onnx"
    write_atomically(path, b"old" * 1000)
    with pytest.raises(NoSpaceError, match="No space is left") as caught:
        write_atomically(path, bytes(2 << 20))
    assert caught.value.exit_code == 52
    assert path.read_bytes() == b"old" * 1000 and os.listdir(small_disk) == ["model.onnx"]


def test_torch_on_a_full_disk_is_explained(small_disk: Path) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(NoSpaceError), explaining_full_disk(small_disk):
        torch.save(torch.zeros(1 << 20), small_disk / "last.pt")
    (small_disk / "last.pt").unlink(missing_ok=True)
    with pytest.raises(RuntimeError, match="another reason"), explaining_full_disk(small_disk.parent):
        raise RuntimeError("another reason")


@pytest.mark.parametrize(
    ("function", "code", "expected"),
    [
        ("fsync", errno.ENOSPC, NoSpaceError),
        ("fsync", errno.EDQUOT, NoSpaceError),
        ("replace", errno.ENOSPC, NoSpaceError),
        ("fsync", errno.EIO, OSError),
        ("replace", errno.EACCES, OSError),
    ],
)
def test_a_failed_write_leaves_the_old_content_and_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int, expected: type[Exception]
) -> None:
    path = tmp_path / "report.json"
    write_atomically(path, b"old")

    def fail(*arguments: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(run_folder.os, function, fail)
    with pytest.raises(expected):
        write_atomically(path, b"new content")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["report.json"]


def test_what_a_killed_process_left_is_removed_under_the_lock(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", Recipe(), "mine")
    folder.write("qat-last-good.safetensors", b"kept")
    (folder.path / "manifests").mkdir()
    leftovers = [
        folder.path / ".qat.onnx.4711.tmp",
        folder.path / "manifests/.qat.json.4711.tmp",
        folder.path / ".float-abc/ultralytics/weights/last.pt",
    ]
    for leftover in leftovers:
        leftover.parent.mkdir(parents=True, exist_ok=True)
        leftover.write_bytes(b"half")
    with folder.locked():
        assert sorted(path.name for path in folder.path.iterdir()) == [
            ".lock",
            "manifests",
            "qat-last-good.safetensors",
            "recipe.yaml",
            "run.json",
        ]
        assert not list((folder.path / "manifests").iterdir())


@pytest.mark.parametrize(
    "left",
    [
        (),
        (".lock",),
        (".lock", ".run.json.4711.tmp"),
        (".lock", "run.json"),
        (".lock", "run.json", ".recipe.yaml.4711.tmp"),
    ],
    ids=" ".join,
)
def test_a_process_killed_while_it_made_the_folder_is_taken_over(tmp_path: Path, left: tuple[str, ...]) -> None:
    made = RunFolder.create(tmp_path / "made", Recipe(), "mine").path
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in left:
        (killed / name).write_bytes((made / name).read_bytes() if (made / name).exists() else b"half")
    folder = RunFolder.create(killed, Recipe(), "mine")
    assert sorted(os.listdir(killed)) == [".lock", "recipe.yaml", "run.json"] and folder.owner() == "mine"
