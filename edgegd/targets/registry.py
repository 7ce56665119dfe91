"""The targets that a user has named, in ${XDG_CONFIG_HOME:-~/.config}/edgegd/targets.yaml; from a name to a target."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from edgegd.atomic_files import write_atomically
from edgegd.errors import TargetUnknownError
from edgegd.file_locks import lock
from edgegd.home import home
from edgegd.safe_yaml import YamlProblem, read_yaml
from edgegd.targets.base import Target
from edgegd.targets.command import SCHEME, CommandTarget
from edgegd.targets.local import LocalTarget
from edgegd.targets.ssh import SshTarget

LOCAL = "local"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class TargetEntry:
    """A named target. `python` and `ssh_config` are of SSH targets; empty ones stand for the defaults."""

    name: str
    url: str
    python: str = "python3"
    emulated: bool = False
    ssh_config: str = ""
    folder: str = ""

    def open(self) -> Target:
        """The target itself, not connected yet; raises TargetUnknownError for a URL that is none."""
        if self.url == LOCAL:
            return LocalTarget(self.name, self.emulated)
        if self.url.startswith(SCHEME):
            return CommandTarget.of(self.name, self.url, emulated=self.emulated, folder=self.folder)
        return SshTarget(
            self.name, self.url, self.python, emulated=self.emulated, ssh_config=self.ssh_config, folder=self.folder
        )


def targets_file() -> Path:
    """Where the targets are stored; it need not exist."""
    return home("XDG_CONFIG_HOME", ".config") / "edgegd" / "targets.yaml"


def load_targets() -> dict[str, TargetEntry]:
    """The stored targets by name; raises TargetUnknownError, which lists every mistake of the file."""
    path = targets_file()
    if not path.exists():
        return {}
    try:
        content = read_yaml(path) or {}
        mistakes = [] if isinstance(content, dict) else ["it is no mapping of names to targets"]
    except YamlProblem as error:
        mistakes = [str(error)]
    entries = {}
    for name, values in ({} if mistakes else content).items():
        wrong = _mistakes(str(name), values)
        mistakes += wrong
        if not wrong:
            entries[str(name)] = TargetEntry(str(name), **values)
    if mistakes:
        raise TargetUnknownError(
            f"The file of targets {path} cannot be understood.",
            found="; ".join(mistakes),
            expected="NAME: {url: ssh://user@host}",
            mend="correct it, or remove it and add anew",
        )
    return entries


def add_target(entry: TargetEntry) -> None:
    """Stores a target under its name, in place of one that had it; raises TargetUnknownError for a URL that is none."""
    if not _NAME.fullmatch(entry.name) or entry.name == LOCAL:
        raise TargetUnknownError(
            f"A target cannot be named {entry.name!r}.",
            expected="letters, digits, . _ -, and not local, which is this machine",
            mend="take another name",
        )
    entry.open()
    with _alone():
        _store({**load_targets(), entry.name: entry})


def remove_target(name: str) -> None:
    """Forgets a target; nothing on the device changes. Raises TargetUnknownError."""
    with _alone():
        entries = load_targets()
        if name not in entries:
            raise _unknown(name, entries)
        _store({other: entry for other, entry in entries.items() if other != name})


def find_target(name_or_url: str) -> Target:
    """The target of a stored name, `local`, or a URL (ssh://..., command:...); raises TargetUnknownError."""
    if name_or_url == LOCAL:
        return LocalTarget()
    if name_or_url.startswith(("ssh://", SCHEME)):
        return TargetEntry(name_or_url, name_or_url).open()
    entries = load_targets()
    if name_or_url not in entries:
        raise _unknown(name_or_url, entries)
    return entries[name_or_url].open()


def _unknown(name: str, entries: Mapping[str, TargetEntry]) -> TargetUnknownError:
    known = [LOCAL, *entries]
    nearest = get_close_matches(name, known, 1)
    hint = f"did you mean {nearest[0]}? Otherwise add" if nearest else "add"
    return TargetUnknownError(
        f"No target is named {name!r}.",
        expected=f"one of {', '.join(known)}",
        mend=f"{hint} it: edgegd target add {name} ssh://user@host",
    )


def _mistakes(name: str, values: Any) -> list[str]:
    kinds = {field.name: bool if field.name == "emulated" else str for field in fields(TargetEntry)[1:]}
    if not isinstance(values, dict) or "url" not in values:
        return [f"{name} has no url"]
    found = []
    for key, value in values.items():
        if key not in kinds:
            nearest = get_close_matches(str(key), list(kinds), 1)
            found.append(f"{name} has an unknown key {key}" + (f" (did you mean {nearest[0]}?)" if nearest else ""))
        elif not isinstance(value, kinds[key]):
            found.append(f"{name}.{key} is {value!r}, not a {'truth value' if kinds[key] is bool else 'text'}")
    return found


@contextmanager
def _alone() -> Iterator[None]:
    """The file of targets for this process alone, from reading it to writing it: another one waits."""
    path = targets_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "r+") as file:
        lock(file, wait=True)
        yield


def _store(entries: Mapping[str, TargetEntry]) -> None:
    path = targets_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {
        name: {key: value for key, value in asdict(entry).items() if key != "name" and value not in ("", False)}
        for name, entry in entries.items()
    }
    write_atomically(path, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).encode())
