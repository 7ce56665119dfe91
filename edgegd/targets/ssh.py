"""The target `ssh://[user@]host[:port]`: a device behind the OpenSSH programs of this machine.

They bring the user's configuration, keys, agent and jump hosts. One control connection serves all commands
(ssh_config(5), ControlMaster): it is made by the first, ends with `close`, and by itself a minute after the last.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import weakref
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from edgegd.errors import DeviceUnreachableError, EdgegdError, TargetUnknownError, WorkerError
from edgegd.foreign_text import one_line
from edgegd.home import expanded
from edgegd.limits import OUTPUT_BYTES
from edgegd.targets.base import CheckItem
from edgegd.targets.bounded_run import TooMuchOutputError, run_bounded
from edgegd.targets.check import examine
from edgegd.targets.local import PACKAGES
from edgegd.targets.lock import device_lock
from edgegd.targets.process import WorkerProcess
from edgegd.targets.ssh_errors import explain

_URL = re.compile(r"ssh://(?:[\w.][\w.+-]*@)?(?:\[[0-9A-Fa-f:.]+(?:%\w+)?\]|\w[\w.-]*)(?::\d+)?/?")
_OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "ConnectTimeout": "10",
    "ServerAliveInterval": "10",
    "ServerAliveCountMax": "3",  # a dead connection is noticed within 40 s
    "ControlMaster": "auto",
    "ControlPersist": "60",
    "LogLevel": "INFO",
    "ClearAllForwardings": "yes",
    "RequestTTY": "no",
    "RemoteCommand": "none",  # the user's are for terminals
}
_COMMAND_S, _EXIT_S = 120.0, 10.0
_SLOWEST_COPY = 10_000  # bytes a second
_LONGEST_SOCKET_PARENT = 55  # "/edgegd-ssh-XXXXXXXX/control" follows, and 17 characters that ssh adds for a moment

# Arguments: folder, name, SHA-256. The last lines are "whole" or the size of what an interrupted copy left; the folder.
_PREPARE = """
case $1 in "") folder=${XDG_CACHE_HOME:-$HOME/.cache}/edgegd;; "~/"*) folder=$HOME/${1#"~/"};; *) folder=$1;; esac
mkdir -p "$folder" && cd "$folder" || exit 1
if [ -f "$2" ] && [ "$(sha256sum < "$2")" = "$3  -" ]; then echo whole
elif [ -f "$2.part" ]; then wc -c < "$2.part"; else echo 0; fi
pwd
"""
# The end of stdin may be the loss of the connection: only a failed write means that nothing more will follow.
_APPEND = 'cat >> "$1" || { rm -f "$1"; exit 1; }'
_FINISH = '[ "$(sha256sum < "$1.part")" = "$2  -" ] && mv -f "$1.part" "$1" || { rm -f "$1.part"; exit 1; }'
# Not by `exec`: where a signal ends the command, ssh's status is that of a lost connection; the shell tells 128 + n.
_RUN = 'case $1 in "~/"*) program=$HOME/${1#"~/"}; shift; set -- "$program" "$@";; esac; "$@"; exit $?'


class SshTarget:
    """A device that is reached by SSH. Nothing is connected before it is needed.

    `copied_bytes` counts what of files has gone over the connection.
    """

    def __init__(
        self,
        name: str,
        url: str,
        python: str = "python3",
        *,
        emulated: bool = False,
        ssh_config: str = "",
        folder: str = "",
    ) -> None:
        """`python` and `folder` (default: ~/.cache/edgegd there) may begin with ~/; raises TargetUnknownError."""
        if not _URL.fullmatch(url):
            raise TargetUnknownError(
                f"{url!r} is no address of a device.",
                expected="ssh://[user@]host[:port]",
                mend="options of SSH belong in ~/.ssh/config, or in the file of --ssh-config",
            )
        try:
            self._program = shlex.split(python) or ["python3"]
        except ValueError as error:
            raise TargetUnknownError(f"{python!r} is no command.", found=str(error), expected="a Python") from error
        self.name, self.emulated, self.copied_bytes = name, emulated, 0
        self._url, self._python, self._folder = url, python, folder
        self._config = ["-F", str(expanded(ssh_config))] if ssh_config else []
        self._connected = False
        self._delivered: dict[str, str] = {}
        self._disconnect: weakref.finalize[..., SshTarget] | None = None
        self._ssh: list[str] = []

    def deliver(self, file: Path) -> str:
        """Copies the file unless it is there, named by its SHA-256; an interrupted copy is continued.

        Raises ConnectionLostError, DeviceSpaceError, WorkerError, and the errors of connecting.
        """
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        name = digest + file.suffix
        for _ in range(2):  # what an interrupted copy left may be damaged; then the whole file is sent
            if name not in self._delivered:
                self._delivered |= self._copy(file, name, digest)
        if name not in self._delivered:
            raise WorkerError(
                f"{file.name} arrived damaged on {self._url}, twice.",
                expected=f"SHA-256 {digest}",
                mend="check the device's disk, and that it has the program sha256sum",
            )
        return self._delivered[name]

    def _copy(self, file: Path, name: str, digest: str) -> dict[str, str]:
        """Name -> path on the device; empty where what arrived is not the file."""
        state, folder = self._prepared(name, digest)
        path = f"{folder}/{name}"
        if state != "whole":
            with file.open("rb", buffering=0) as rest:
                start = rest.seek(int(state))
                try:
                    self._run(_APPEND, path + ".part", stdin=rest)
                finally:
                    self.copied_bytes += rest.tell() - start
            try:
                self._run(_FINISH, path, digest)
            except _RemoteFailure:
                return {}
        return {name: path}

    def _prepared(self, name: str, digest: str) -> tuple[str, str]:
        """The last two lines of _PREPARE: "whole" or a size, and the folder there, an absolute path."""
        answer = self._run(_PREPARE, self._folder, name, digest)
        state, folder = ["", "", *answer.splitlines()][-2:]
        if not re.fullmatch(r"whole|[0-9]{1,18}", state) or not re.fullmatch(r"/.{0,4000}", folder):
            raise WorkerError(
                f"{self._url} answered a command by something else.",
                found=one_line(answer[-200:]),
                expected="the size of a copy, and the folder that it is in",
                mend="see whether a shell on the device prints a greeting at its end, or is none",
            )
        return state, folder

    def start_worker(self, worker_file: Path) -> WorkerProcess:
        """Starts a program on the device; it ends when the connection does. Raises WorkerError and as `deliver`."""
        program = self.deliver(worker_file)
        device = f"the target {self.name}" + (f" ({self._url})" if self.name != self._url else "")
        return WorkerProcess(self._command(_RUN, *self._program, program), self._explain, device)

    def lock(self) -> AbstractContextManager[None]:
        """The device for this process alone; raises DeviceBusyError, and as `start_worker`."""
        return device_lock(self)

    def check(self) -> tuple[CheckItem, ...]:
        """What is there of all that a measurement needs; raises the errors of connecting."""
        self._run("true")
        remote = f"{self._python} -m pip install {PACKAGES}"
        install = shlex.join(["ssh", *self._config, self._url, remote])
        return (CheckItem("connection", self._url), *examine(self, install))

    def close(self) -> None:
        """Ends the control connection, and so every worker on it; the next use makes another one."""
        if self._disconnect is not None:
            self._disconnect()
        self._disconnect, self._connected, self._delivered = None, False, {}

    def _command(self, script: str, *arguments: str) -> list[str]:
        """The ssh client that runs a POSIX shell script on the device, whatever the user's shell there."""
        if self._disconnect is None:
            folder = tempfile.mkdtemp(prefix="edgegd-ssh-", dir=_socket_parent())
            options = [f"-o{key}={value}" for key, value in {**_OPTIONS, "ControlPath": f"{folder}/control"}.items()]
            self._ssh = ["ssh", *self._config, *options, self._url]
            self._disconnect = weakref.finalize(self, _end_connection, self._ssh, folder)
        return [*self._ssh, shlex.join(["sh", "-c", f"LC_ALL=C; export LC_ALL; {script}", "sh", *arguments])]

    def _run(self, script: str, *arguments: str, stdin: object = subprocess.DEVNULL) -> str:
        """The script's stdout. What reads a file from `stdin` has more time, by its size."""
        command = self._command(script, *arguments)
        size = os.fstat(stdin.fileno()).st_size if isinstance(stdin, io.IOBase) else 0
        limit_s = _COMMAND_S + size / _SLOWEST_COPY
        try:
            done = run_bounded(command, stdin, limit_s)
        except FileNotFoundError as error:
            raise DeviceUnreachableError(
                "This machine has no ssh.", expected="OpenSSH's client", mend="sudo apt-get install openssh-client"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise WorkerError(
                f"{self._url} hangs.",
                expected=f"an answer within {limit_s:.0f} s",
                mend="see whether the device is overloaded",
            ) from error
        except TooMuchOutputError as error:
            raise WorkerError(
                f"{self._url} does not stop to write.",
                found="more, so the connection was ended",
                expected=f"at most {OUTPUT_BYTES >> 20} MiB in answer to a command",
                mend="see what runs when somebody logs in there (.bashrc, a banner)",
            ) from error
        if done.code:
            raise self._explain(done.code, done.stderr) or _RemoteFailure(
                f"{self._url} refused a command.",
                expected="exit status 0",
                found=f"status {done.code}: {done.stderr.strip()[-600:]}",
            )
        self._connected = True
        return done.stdout

    @property
    def _explain(self) -> partial[EdgegdError | None]:
        return partial(explain, url=self._url, python=self._python, connected=self._connected)


class _RemoteFailure(WorkerError):
    """A command ran on the device and failed."""


def _socket_parent() -> str:
    """The folder for temporary files, if its name is short: a socket's path may have 100 characters only."""
    usual = tempfile.gettempdir()
    return usual if len(os.fsencode(usual)) <= _LONGEST_SOCKET_PARENT else "/tmp"


def _end_connection(ssh: list[str], folder: str) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):  # it ends by itself too, a minute later
        subprocess.run(
            [*ssh[:-1], "-O", "exit", ssh[-1]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=_EXIT_S,
            start_new_session=True,
        )
    shutil.rmtree(folder, ignore_errors=True)
