"""What the last words of OpenSSH, or of a command on a device, mean."""

from __future__ import annotations

from edgegd.errors import (
    AuthenticationError,
    ConnectionLostError,
    DeviceSoftwareError,
    DeviceSpaceError,
    DeviceUnreachableError,
    EdgegdError,
    HostKeyError,
    WorkerError,
)

SSH_FAILED = 255  # ssh(1), EXIT STATUS
_NOT_RUN, _SIGNAL = (126, 127), 128  # of a POSIX shell: not executable, not found; above, ended by a signal
_UNREACHABLE = ("Connection refused", "timed out", "No route to host", "Network is unreachable", "Host is down")
_FULL = ("No space left on device", "Disk quota exceeded")


def explain(code: int | None, stderr: str, *, url: str, python: str, connected: bool) -> EdgegdError | None:
    """The error behind the end of an ssh client, or None where its words say nothing known.

    `connected` tells that the device was reached before: what else ends the client has then cut a connection.
    """
    words = stderr.strip()[-600:] or "no word about it"
    if code == SSH_FAILED:
        return _explain_ssh(stderr, words, url, connected)
    if code is not None and code > _SIGNAL:
        return WorkerError(
            f"A worker on {url} died.",
            expected="an answer",
            found=f"it was ended by signal {code - _SIGNAL}: {words}",
            mend="signal 9 is often a device out of memory: see `dmesg` there",
        )
    if any(sign in stderr for sign in _FULL):
        return DeviceSpaceError(
            f"The disk of {url} is full.",
            expected="space for the models that are measured",
            found=words,
            mend="free some space there; `edgegd target check` shows how much there is",
        )
    if code in _NOT_RUN:
        return DeviceSoftwareError(
            f"{url} cannot run {python}.",
            expected="Python 3.9 or later",
            found=words,
            mend=f"install it (ssh {url} sudo apt-get install python3), or name another: "
            "edgegd target add ... --python PROGRAM",
        )
    if "SyntaxError" in stderr:
        return DeviceSoftwareError(
            f"{python} on {url} is too old.",
            expected="Python 3.9 or later",
            found=words,
            mend="install a newer one there, and name it: edgegd target add ... --python PROGRAM",
        )
    return None


def _explain_ssh(stderr: str, words: str, url: str, connected: bool) -> EdgegdError:
    if "HOST IDENTIFICATION HAS CHANGED" in stderr:
        return HostKeyError(
            f"The host key of {url} has changed; the connection was refused.",
            expected="the key in known_hosts",
            found=words,
            mend="find out why: a new system on the device, or somebody in between. Only then remove "
            "the old key (ssh-keygen -R HOST) and accept the new one by `ssh` in a terminal",
        )
    if "Host key verification failed" in stderr:
        return HostKeyError(
            f"The host key of {url} is not known; the connection was refused.",
            expected="a key in known_hosts",
            found=words,
            mend=f"connect once in a terminal, `ssh {url}`, and compare the fingerprint with the device's "
            "(on it: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub)",
        )
    if "Permission denied" in stderr or "Too many authentication failures" in stderr:
        return AuthenticationError(
            f"{url} refuses the login.",
            expected="a key that the device accepts, without a password to type",
            found=words,
            mend=f"copy your key there (ssh-copy-id), or load it (ssh-add), until `ssh {url} true` asks for nothing",
        )
    if "Could not resolve hostname" in stderr:
        return DeviceUnreachableError(
            f"The host of {url} is unknown.",
            expected="a name that this machine can resolve",
            found=words,
            mend="correct the name, or give the device's address",
        )
    if not connected or any(sign in stderr for sign in _UNREACHABLE):
        return DeviceUnreachableError(
            f"{url} does not answer.",
            expected="an SSH server",
            found=words,
            mend="see whether the device is on, in this network, and runs an SSH server on this port",
        )
    return ConnectionLostError(
        f"The connection to {url} was lost.",
        expected="a connection for as long as a measurement takes",
        found=words,
        mend="run the same command again: a copy goes on where it stopped",
    )
