"""What every case runs under: a home of its own, one thread, no network, and the processes it leaves behind."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys
from pathlib import Path

_CLONE_NEWNET, _PR_SET_CHILD_SUBREAPER = 0x40000000, 36
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def set_environment(place: Path) -> None:
    """Everything that libraries read when they are imported; must be called before they are.

    One thread, for only a process of one thread may be forked and go on.
    """
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        os.environ[variable] = "1"
    os.environ |= {
        "HOME": str(place / "home"),
        "XDG_CONFIG_HOME": str(place / "home/.config"),
        "XDG_CACHE_HOME": str(place / "home/.cache"),
        "XDG_DATA_HOME": str(place / "home/.local/share"),
        "XDG_STATE_HOME": str(place / "home/.local/state"),
        "YOLO_CONFIG_DIR": str(place / "home/.config/Ultralytics"),
        "MPLCONFIGDIR": str(place / "home/.cache/matplotlib"),
        "TMPDIR": str(place / "tmp"),
        "EDGEGD_DEVICE_LOCK": str(place / "tmp/device.lock"),
        "ORT_DISABLE_TELEMETRY": "1",
        "YOLO_VERBOSE": "false",
        "YOLO_AUTOINSTALL": "false",
        "COLUMNS": "100",
        "MPLBACKEND": "agg",
    }
    root = str(Path(__file__).parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", ""))))


def leave_the_network() -> str:
    """Takes the network away from this process and all that it starts; says how.

    In a network namespace of its own it has the loopback interface alone. Where that is not allowed (no root),
    connections that leave this machine are refused inside of Python only.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) == 0:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            request = bytearray(struct.pack("16sH14x", b"lo", 0))
            fcntl.ioctl(probe, _SIOCGIFFLAGS, request)
            flags = struct.unpack_from("H", request, 16)[0]
            fcntl.ioctl(probe, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))
        return "none: a network namespace with the loopback interface alone"
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def refused(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else ""
        if self.family != socket.AF_UNIX and host not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"the network is off limits here: {address}")
        connect(self, address)  # type: ignore[arg-type]

    def no_name(host: object, *rest: object, **options: object) -> object:
        if host not in ("127.0.0.1", "::1", "localhost", None):
            raise socket.gaierror(socket.EAI_FAIL, f"the network is off limits here: {host!r}")
        return look_up(host, *rest, **options)  # type: ignore[arg-type]

    socket.socket.connect = refused  # type: ignore[assignment, method-assign]
    socket.getaddrinfo = no_name  # type: ignore[assignment]
    return "refused inside of Python: no network namespace is allowed here"


def adopt_orphans() -> None:
    """Processes whose parent ends become this one's children, so that none is lost sight of."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> dict[int, str]:
    """This process' children: process id -> command line. Zombies are reaped, and left out."""
    found, own = {}, os.getpid()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) != own:
                continue
            if fields[0] == "Z":
                os.waitpid(int(folder.name), os.WNOHANG)
                continue
            words = (folder / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            found[int(folder.name)] = words[:200]
    return found


def end(pids: set[int]) -> None:
    """Kills processes that this one's cases started, and what they started."""
    while pids:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        pids = set(children()) - _KEPT


_KEPT: set[int] = set()


def keep(pid: int) -> None:
    """`pid` is this process' child and no case's: an sshd."""
    _KEPT.add(pid)


def kept() -> frozenset[int]:
    """The children that are no case's."""
    return frozenset(_KEPT)


def require_one_thread() -> None:
    """Ends the program where a library has started a thread: what is forked then could hang for that reason alone."""
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        sys.exit(f"fuzz: {threads} threads run before the first fork; 1 is needed")
