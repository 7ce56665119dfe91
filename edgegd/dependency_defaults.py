"""What the libraries that edgegd uses must not do on their own: report to their makers, install packages, unpickle.

onnxruntime's wheel uploads telemetry from a thread of its own and writes an identifier into the home folder; it reads
ORT_DISABLE_TELEMETRY when it is imported, and nothing stops it afterwards. Ultralytics resolves a name at each import,
posts events, writes a settings file with an identifier into the home folder, and installs packages that it misses. Both
read the environment once, so `edgegd/__init__.py` sets it before any module of edgegd can import them. A variable that
is set already keeps its value: whoever wants another behaviour sets it.
"""

from __future__ import annotations

import atexit
import os
import uuid
from collections.abc import MutableMapping
from pathlib import Path

from edgegd.trust import is_trusted

ALWAYS = {
    "ORT_DISABLE_TELEMETRY": "1",
    "YOLO_OFFLINE": "true",  # no look-up of names at import, no events, no look for updates; downloads still work
    "YOLO_AUTOINSTALL": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
SAFE_LOAD = "ULTRALYTICS_SAFE_LOAD"
_MULTICAST_BIT = 1 << 40  # which no network card has
CONFIG_FOLDER = "YOLO_CONFIG_DIR"


def set_dependency_defaults(environment: MutableMapping[str, str]) -> None:
    """Sets the variables that have no value yet; ULTRALYTICS_SAFE_LOAD unless EDGEGD_TRUST says otherwise.

    Where the user has no settings file of Ultralytics' own, none is left behind: Ultralytics gets a folder that does
    not exist yet, and that is removed when this process ends. A settings file that exists is read as it is.
    """
    for name, value in ALWAYS.items():
        environment.setdefault(name, value)
    if not is_trusted(environment):
        environment.setdefault(SAFE_LOAD, "true")
    if CONFIG_FOLDER not in environment and not _has_settings(environment):
        folder = Path(environment.get("TMPDIR") or "/tmp", f"edgegd-ultralytics-{os.urandom(8).hex()}")
        environment[CONFIG_FOLDER] = str(folder)
        atexit.register(_remove, folder, os.getpid())


def hide_network_card() -> None:
    """Gives `uuid.getnode` a random number (RFC 9562, section 6.10) unless it has read the network card's already.

    Ultralytics makes its identifier of that number whenever it is imported, and reading it opens a socket.
    """
    if getattr(uuid, "_node", 0) is None:
        uuid._node = int.from_bytes(os.urandom(6), "big") | _MULTICAST_BIT  # type: ignore[attr-defined]


def _has_settings(environment: MutableMapping[str, str]) -> bool:
    """Whether Ultralytics has a settings file where it looks for one on Linux (ultralytics/utils/__init__.py)."""
    try:
        home = environment.get("XDG_CONFIG_HOME") or Path.home() / ".config"
        return Path(home, "Ultralytics", "settings.json").is_file()
    except (OSError, RuntimeError):  # a folder that may not be read; a user without a home
        return False


def _remove(folder: Path, owner: int) -> None:
    import shutil  # which a device that only detects never needs

    if os.getpid() == owner:  # not in a forked child, whose parent still uses it
        shutil.rmtree(folder, ignore_errors=True)
