"""Pipes and devices in the place of files: an error at once, never a wait without an end."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from edgegd.errors import OutputFileError
from edgegd.pipeline.run_folder import sha256_of
from edgegd.regular_files import require_regular
from edgegd.safe_outputs import open_descriptor, require_appendable


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize(("make", "kind"), [(_pipe, "a pipe"), (_zeros, "a device"), (_socket, "a socket")])
def test_what_is_no_regular_file_is_named(
    make: Callable[[Path], None], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path may not be long
    path = Path("it")
    make(path)
    for read in (require_regular, sha256_of):
        with pytest.raises(OSError, match=f"no regular file but {kind}") as caught:
            read(path)
        assert caught.value.filename == "it"


def test_files_folders_and_nothing_are_left_to_the_reader(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link", "none", "."):
        require_regular(tmp_path / name)


def test_nothing_is_written_into_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputFileError, match="no regular file but a pipe"):
        open_descriptor(tmp_path / "pipe", os.O_RDWR)
    with pytest.raises(Exception, match="cannot be written"):
        require_appendable(tmp_path / "pipe")
