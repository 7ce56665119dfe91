"""The keeper of a device's lock: one file that runs on the device, and holds the lock until stdin ends.

    {"lock": {"path", "owner"}}  -> {"locked": true} or {"held_by": "OWNER since ..."}
    {"lock": null}               -> {"locked": false}, and the process ends
    {}                           no answer; it only shows that the connection lives

The process ends with stdin, on SIGINT, and after 300 silent seconds. However it ends, the kernel then releases the
lock. It needs Python 3.7 and nothing else.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import time

SILENCE_S = 300.0  # a connection may die without a word


def take(path: str, owner: str) -> tuple[int | None, str]:
    """Locks the file and leaves the owner's name in it: (file descriptor, ""), or (None, holder) where it is taken.

    The file is never removed, and everybody may write to it, so that all users of a device exclude each other.
    """
    while True:
        try:  # without O_CREAT, which the kernel refuses for others' files in a sticky folder (fs.protected_regular)
            lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except FileNotFoundError:
            try:
                lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
                os.fchmod(lock, 0o666)  # whatever the umask
            except FileExistsError:
                continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 1000, 0).decode(errors="replace").strip()
            os.close(lock)
            return None, holder or "somebody who has left no name"
        if os.path.exists(path) and os.path.samestat(os.stat(path), os.fstat(lock)):
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{owner} since {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime())}\n".encode(), 0)
            return lock, ""
        os.close(lock)  # it was removed in between, and somebody may hold another one by now


def main() -> None:
    """Answers, then waits for the end."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever started this may ignore it, and that is inherited
    with open(0, "rb", buffering=0) as stdin:
        lock, holder = take(**json.loads(stdin.readline())["lock"])
        print(json.dumps({"held_by": holder} if lock is None else {"locked": True}), flush=True)
        while lock is not None and select.select([stdin], [], [], SILENCE_S)[0]:
            line = stdin.readline()
            if not line:
                return
            if "lock" in json.loads(line):
                os.close(lock)
                print(json.dumps({"locked": False}), flush=True)
                return


if __name__ == "__main__":
    main()
