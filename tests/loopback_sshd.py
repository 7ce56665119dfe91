"""A device for tests: this machine behind an sshd of its own on the loopback address, with a home folder of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from processes import END_S


def wait_until(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Returns as soon as it holds; fails the test where it never does."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


@dataclass(frozen=True)
class Device:
    """The sshd with its port and configuration; `config` is the user's ssh_config, `home` the device's home folder."""

    port: int
    config: Path
    home: Path
    sshd: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"

    @property
    def files(self) -> Path:
        """Where edgegd stores what it copies."""
        return self.home / ".cache" / "edgegd"

    def target(self, name: str = "board", **options: Any) -> Any:
        """An SshTarget of this device, with the Python that runs the tests."""
        from edgegd.targets.ssh import SshTarget

        return SshTarget(name, self.url, **{"python": sys.executable, "ssh_config": str(self.config), **options})

    def programs(self) -> list[int]:
        """The process ids of what runs from the device's home folder: workers, keepers of the lock."""
        return [
            pid
            for pid, words in _processes()
            if any(word.startswith(str(self.files)) for word in words[1:]) and not words[0].endswith("sh")
        ]

    def sessions(self) -> list[int]:
        """The process ids of the server's side of every connection."""
        parents = _parents()
        direct = [pid for pid, parent in parents.items() if parent == self.sshd.pid]
        below = [pid for pid, parent in parents.items() if parent in direct]
        return [pid for pid in [*direct, *below] if _name(pid) == "sshd"]

    def cut(self) -> None:
        """Kills the server's side of every connection."""
        for pid in self.sessions():
            os.kill(pid, signal.SIGKILL)

    wait_until = staticmethod(wait_until)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _processes() -> Iterator[tuple[int, list[str]]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            yield int(folder.name), words


def _parents() -> dict[int, int]:
    found = {}
    for pid, _ in _processes():
        try:
            found[pid] = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    return found


@pytest.fixture(scope="session")
def sshd_device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """A running sshd whose key and user key are known to the configuration of `Device.target`."""
    if sshd_program() is None:
        pytest.skip("needs OpenSSH's server and client: apt-get install openssh-server openssh-client")
    with running_device(tmp_path_factory.mktemp("sshd")) as device:
        yield device


def sshd_program() -> str | None:
    """The path of OpenSSH's server, None where it or its client is missing."""
    program = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    return program if shutil.which("ssh") else None


@contextmanager
def running_device(folder: Path) -> Iterator[Device]:
    """Starts an sshd whose keys, configuration and home folder lie in `folder`, and ends it."""
    program = sshd_program()
    assert program is not None
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # of privilege separation
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    home = folder / "home"
    home.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
        "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"MaxStartups 100\nMaxSessions 100\nSetEnv HOME={home}\n"
    )
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    config = folder / "ssh_config"
    config.write_text(
        f"IdentityFile {folder}/user\nIdentitiesOnly yes\nIdentityAgent none\nGlobalKnownHostsFile /dev/null\n"
        f"UserKnownHostsFile {folder}/known_hosts\n"
    )
    with (folder / "log").open("wb") as log:
        sshd = subprocess.Popen([program, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    try:
        wait_until(lambda: sshd.poll() is not None or socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        assert sshd.poll() is None, (folder / "log").read_text()
        yield Device(port, config, home, sshd)
    finally:
        sshd.terminate()
        sshd.wait(END_S)
