"""Files, checks and faults of a target behind a real sshd on the loopback address."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from processes import END_S

from edgegd.errors import (
    AuthenticationError,
    ConnectionLostError,
    DeviceSoftwareError,
    DeviceSpaceError,
    DeviceUnreachableError,
    HostKeyError,
    TargetUnknownError,
    WorkerError,
)
from edgegd.targets import ssh
from edgegd.targets.ssh import SshTarget


@pytest.fixture
def board(sshd_device: Any) -> Iterator[Any]:
    """An open target; its connection ends with the test."""
    with closing(sshd_device.target()) as target:
        yield target


def with_setting(device: Any, folder: Path, line: str) -> Any:
    """A target whose ssh_config has one line before the usual ones: ssh takes the first value it finds."""
    config = folder / "ssh_config"
    config.write_text(f"{line}\n{device.config.read_text()}")
    return device.target(ssh_config=str(config))


def refused(target: Any, kind: type[Exception], words: str) -> None:
    """The target cannot be reached, for this reason."""
    with closing(target), pytest.raises(kind, match=words):
        target.check()


def test_a_file_is_copied_once_by_its_hash(board: Any, sshd_device: Any, tmp_path: Path) -> None:
    model, twin = tmp_path / "model.onnx", tmp_path / "twin.onnx"
    for file in (model, twin):
        file.write_bytes(b"one content" * 1000)
    there = Path(board.deliver(model))
    assert there == sshd_device.files / (sha256(model.read_bytes()).hexdigest() + ".onnx")
    assert there.read_bytes() == model.read_bytes() and board.copied_bytes == 11_000
    assert board.deliver(twin) == str(there)
    with closing(sshd_device.target()) as second:
        assert second.deliver(model) == str(there) and second.copied_bytes == 0


def test_what_is_damaged_on_the_device_is_copied_anew(board: Any, sshd_device: Any, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"sound" * 100)
    there = Path(board.deliver(model))
    there.write_bytes(b"rotten")
    with closing(sshd_device.target()) as second:
        second.deliver(model)
    assert there.read_bytes() == model.read_bytes()


def test_a_wrong_part_of_a_file_is_not_taken(board: Any, sshd_device: Any, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"right" * 100)
    part = sshd_device.files / (sha256(model.read_bytes()).hexdigest() + ".onnx.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(b"wrong" * 50)
    assert Path(board.deliver(model)).read_bytes() == model.read_bytes()
    assert not part.exists()


def test_a_copy_cut_off_goes_on_where_it_stopped(board: Any, sshd_device: Any, tmp_path: Path) -> None:
    model = tmp_path / "large.onnx"
    with model.open("wb") as file:
        file.write(os.urandom(1 << 20))
        file.truncate(64 << 20)
    part = sshd_device.files / (sha256(model.read_bytes()).hexdigest() + ".onnx.part")
    small = tmp_path / "small.onnx"
    small.write_bytes(b"connects")
    board.deliver(small)
    sessions = sshd_device.sessions()
    assert sessions

    def cut() -> None:
        end = time.monotonic() + END_S
        while not (part.exists() and part.stat().st_size > 1 << 20) and time.monotonic() < end:
            time.sleep(0.001)
        for pid in sessions:
            os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=cut)
    thread.start()
    with pytest.raises(ConnectionLostError, match="goes on where it stopped"):
        board.deliver(model)
    thread.join(END_S)
    arrived = settled_size(part)
    assert 1 << 20 < arrived < 64 << 20
    board.copied_bytes = 0
    assert Path(board.deliver(model)).stat().st_size == 64 << 20
    assert board.copied_bytes == (64 << 20) - arrived
    assert sha256(Path(board.deliver(model)).read_bytes()).digest() == sha256(model.read_bytes()).digest()


def settled_size(path: Path) -> int:
    """The size of a file that somebody may still be writing the last of."""
    size = -1
    while size != path.stat().st_size:
        size = path.stat().st_size
        time.sleep(0.3)
    return size


def test_a_full_disk_is_told_and_nothing_is_left_there(sshd_device: Any, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", small], capture_output=True).returncode:
        pytest.skip("only who may mount a small disk can fill it")
    try:
        model = tmp_path / "large.onnx"
        model.write_bytes(os.urandom(2 << 20))
        with closing(sshd_device.target(folder=str(small))) as target:
            with pytest.raises(DeviceSpaceError, match="No space left on device"):
                target.deliver(model)
            assert list(small.iterdir()) == []
            assert [item.level for item in target.check() if item.subject == "space"] == ["missing"]
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_a_folder_in_the_home_of_the_device(sshd_device: Any, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"elsewhere")
    with closing(sshd_device.target(folder="~/my models")) as target:
        assert Path(target.deliver(model)).parent == sshd_device.home / "my models"


def test_a_folder_that_cannot_be_made_is_told(sshd_device: Any, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"nowhere")
    with closing(sshd_device.target(folder="/proc/nowhere")) as target, pytest.raises(WorkerError, match="mkdir"):
        target.deliver(model)


def test_check_of_a_device_that_has_everything(board: Any, sshd_device: Any) -> None:
    items = {item.subject: item for item in board.check()}
    assert [item.subject for item in items.values() if item.level == "missing"] == []
    assert items["Python"].found == ".".join(map(str, sys.version_info[:3]))
    assert items["lock"].found == "free" and items["connection"].found == sshd_device.url
    sshd_device.wait_until(lambda: not sshd_device.programs())


def test_check_says_how_to_install_what_is_missing(sshd_device: Any) -> None:
    with closing(sshd_device.target(python=f"{shlex.quote(sys.executable)} -S")) as target:
        missing = {item.subject: item.mend for item in target.check() if item.level == "missing"}
    assert set(missing) == {"numpy", "onnxruntime"}
    assert "ssh" in missing["onnxruntime"] and "-m pip install" in missing["onnxruntime"]
    assert sshd_device.url in missing["onnxruntime"]


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("/no/such/python", "not found"),
        ("~/no/such/python", "not found"),
        ("/etc/passwd", "Permission denied"),
    ],
    ids=["missing", "missing at home", "not executable"],
)
def test_a_python_that_cannot_be_run_is_an_error_and_a_missing_item(
    sshd_device: Any, tmp_path: Path, program: str, words: str
) -> None:
    file = tmp_path / "program.py"
    file.write_text("")
    with closing(sshd_device.target(python=program)) as target:
        with closing(target.start_worker(file)) as worker, pytest.raises(DeviceSoftwareError, match=words):
            worker.receive(30)
        (item,) = (item for item in target.check() if item.level == "missing")
        assert item.subject == "Python" and "apt-get install python3" in item.mend


def test_a_python_below_home_is_found(sshd_device: Any, tmp_path: Path) -> None:
    own = sshd_device.home / "my python"
    own.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    own.chmod(0o755)
    file = tmp_path / "program.py"
    file.write_text("print('{}', flush=True)")
    with closing(sshd_device.target(python="'~/my python'")) as target, closing(target.start_worker(file)) as worker:
        assert worker.receive(30) == {}


def test_an_unknown_host(sshd_device: Any) -> None:
    name = "n" * 64  # longer than a name may be: no server is asked
    refused(SshTarget("x", f"ssh://{name}", ssh_config=str(sshd_device.config)), DeviceUnreachableError, "is unknown")


def test_a_host_that_does_not_answer(sshd_device: Any) -> None:
    nobody = SshTarget("x", "ssh://127.0.0.1:1", ssh_config=str(sshd_device.config))
    refused(nobody, DeviceUnreachableError, "does not answer")


def test_an_unknown_host_key_is_refused_whatever_the_configuration_says(sshd_device: Any, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    setting = f"StrictHostKeyChecking no\nUserKnownHostsFile {known}"
    refused(with_setting(sshd_device, tmp_path, setting), HostKeyError, "is not known")
    assert not known.exists(), "the key was not accepted on the side"


def test_a_changed_host_key_is_refused(sshd_device: Any, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{sshd_device.port} {(tmp_path / 'other.pub').read_text()}")
    refused(with_setting(sshd_device, tmp_path, f"UserKnownHostsFile {known}"), HostKeyError, "has changed")


def test_a_key_that_the_device_does_not_know_is_refused(sshd_device: Any, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "stranger"], check=True)
    config = tmp_path / "ssh_config"
    lines = sshd_device.config.read_text().splitlines()
    config.write_text("\n".join([f"IdentityFile {tmp_path}/stranger", *lines[1:]]) + "\n")
    refused(sshd_device.target(ssh_config=str(config)), AuthenticationError, "ssh-copy-id")


@pytest.mark.parametrize(
    "url",
    ["ssh://", "ssh://-oProxyCommand=x", "ssh://a b", "ssh://u:secret@h", "ssh://h/path", "ssh://h:port", "http://h"],
)
def test_what_is_no_address_never_reaches_ssh(url: str) -> None:
    with pytest.raises(TargetUnknownError):
        SshTarget("x", url)


def test_the_control_connection_ends_with_the_target(sshd_device: Any) -> None:
    target, before = sshd_device.target(), set(sshd_device.sessions())
    target.check()
    assert set(sshd_device.sessions()) - before
    target.close()
    sshd_device.wait_until(lambda: set(sshd_device.sessions()) <= before)
    target.check()  # and may be used again
    target.close()


def test_names_and_jump_hosts_of_the_users_configuration(sshd_device: Any, tmp_path: Path) -> None:
    config = tmp_path / "ssh_config"
    config.write_text(
        f"Host Behind\n  HostName localhost\n  Port {sshd_device.port}\n  HostKeyAlias [127.0.0.1]:{sshd_device.port}\n"
        f"  ProxyJump 127.0.0.1:{sshd_device.port}\nMatch all\n{sshd_device.config.read_text()}"
    )
    before = set(sshd_device.sessions())
    with closing(SshTarget("x", "ssh://Behind", sys.executable, ssh_config=str(config))) as target:
        assert not [item for item in target.check() if item.level == "missing"]
        assert len(set(sshd_device.sessions()) - before) >= 2, "one connection to jump from, one through it"


@pytest.mark.slow
def test_a_connection_that_falls_silent_is_noticed(board: Any, sshd_device: Any, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import time; print('{}', flush=True); time.sleep(300)")
    worker = board.start_worker(program)
    assert worker.receive(30) == {}
    sessions = sshd_device.sessions()
    try:
        for pid in sessions:
            os.kill(pid, signal.SIGSTOP)
        with closing(worker), pytest.raises(ConnectionLostError):
            worker.receive(120)
    finally:
        for pid in sessions:
            os.kill(pid, signal.SIGCONT)
        for pid in sshd_device.programs():
            os.kill(pid, signal.SIGKILL)  # this program, unlike a worker, does not look at stdin


def test_the_control_socket_lies_among_temporary_files_where_its_path_is_short_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for folder, expected in (("/tmp", "/tmp"), ("/var/tmp", "/var/tmp"), ("/" + "a" * 100, "/tmp")):
        monkeypatch.setattr("tempfile.tempdir", folder)
        assert ssh._socket_parent() == expected
