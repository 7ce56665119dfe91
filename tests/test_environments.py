"""Machines that lack something: each is one error that names it. Oracle: faults that are made by hand."""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgegd.data.dataset import open_dataset
from edgegd.data.view import ultralytics_yaml
from edgegd.detectors.shared_memory import require_shared_memory
from edgegd.errors import FileAccessError, NoSpaceError
from edgegd.file_locks import lock
from edgegd.home import expanded, home
from edgegd.pipeline.gate_request import calibration_folder
from edgegd.pipeline.run_folder import RunFolder
from edgegd.recipe.paths import resolve_path
from edgegd.recipe.schema import DataSection, Recipe
from edgegd.targets.registry import load_targets, targets_file


class Small:
    f_bavail, f_frsize = 16, 4096  # 64 kB


def test_shared_memory_of_64_kb_is_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: Small)
    with pytest.raises(NoSpaceError, match=r"(?s)/dev/shm.*train\.workers 2.*64 KiB free"):
        require_shared_memory(2, 4, 96)
    require_shared_memory(0, 4, 96)


def test_a_machine_without_shared_memory(tmp_path: Path) -> None:
    with pytest.raises(NoSpaceError, match="0 KiB free"):
        require_shared_memory(1, 1, 32, folder=tmp_path / "none")


def test_shared_memory_that_suffices() -> None:
    require_shared_memory(1, 1, 32, folder=Path("/tmp"))


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def flock(file: Any, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with (tmp_path / "lock").open("w") as file, pytest.raises(FileAccessError, match="has no locks"):
        lock(file)
    with pytest.raises(FileAccessError, match="has no locks"):
        RunFolder.create(tmp_path / "run", Recipe(), "r")


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    cv2, np = pytest.importorskip("cv2"), pytest.importorskip("numpy")
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((16, 16, 3), np.uint8))
    (tmp_path / "data.yaml").write_text("train: images\nval: images\nnames: [a]\n")
    dataset = open_dataset(DataSection(path=str(tmp_path / "data.yaml")))

    def symlink(*arguments: Any, **keys: Any) -> None:
        raise OSError(number, os.strerror(number), str(arguments[1]))

    monkeypatch.setattr(os, "symlink", symlink)
    with pytest.raises(FileAccessError, match="has no symbolic links"):
        ultralytics_yaml(dataset, tmp_path / "view")


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: Any) -> Any:
        raise KeyError("no such user")

    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(pwd, "getpwnam", unknown)
    for wanted in (targets_file, calibration_folder, lambda: home("XDG_CACHE_HOME", ".cache"), load_targets):
        with pytest.raises(FileAccessError, match="no home folder"):
            wanted()
    for path in ("~/x.pt", "~nobody-here/x.pt"):
        with pytest.raises(FileAccessError, match="is unknown"):
            resolve_path(path)


def test_a_home_that_does_not_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert load_targets() == {} and expanded("~/x") == tmp_path / "none" / "x" and not (tmp_path / "none").exists()


def test_twelve_targets_at_once_are_all_kept(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}
    program = (
        "import sys; from edgegd.targets.registry import TargetEntry, add_target\n"
        "add_target(TargetEntry(sys.argv[1], 'ssh://pi@board'))"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, f"board{number}"], env=environment) for number in range(12)
    ]
    assert [process.wait(120) for process in running] == [0] * 12
    text = (tmp_path / "edgegd" / "targets.yaml").read_text()
    assert all(f"board{number}:" in text for number in range(12))


def test_every_text_file_is_read_and_written_in_utf_8() -> None:
    """Without an encoding the locale's would count, and a class name could end a command."""
    import ast

    import edgegd

    found = []
    for file in Path(edgegd.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("read_text", "write_text")
                and not any(key.arg == "encoding" for key in node.keywords)
            ):
                found.append(f"{file.name}:{node.lineno}")
    assert [place for place in found if not place.startswith("emulation_")] == []
