"""The place of the cases: a working directory that is, before every case, a copy of the prepared one."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

Signature = tuple[str, int, int, int, int, str]
"""Kind, size, inode, time of content, time of anything, link's target. No program can set the fifth."""


def look(root: Path) -> dict[str, Signature]:
    """Every file, link and folder below `root`, by relative path; links are not followed."""
    found: dict[str, Signature] = {}
    pending = [""]
    while pending:
        folder = pending.pop()
        with os.scandir(root / folder) as entries:
            for entry in entries:
                name = f"{folder}/{entry.name}" if folder else entry.name
                facts = entry.stat(follow_symlinks=False)
                if entry.is_symlink():
                    found[name] = ("link", 0, facts.st_ino, 0, 0, os.readlink(entry.path))
                elif entry.is_dir(follow_symlinks=False):
                    found[name] = ("folder", 0, 0, 0, 0, "")
                    pending.append(name)
                else:
                    kind = "file" if stat.S_ISREG(facts.st_mode) else "special"
                    found[name] = (kind, facts.st_size, facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns, "")
    return found


@dataclass
class Place:
    """`path` is where commands run, `base` the untouched copy that it is restored from.

    Both keep their names for ever: a run folder knows the path of its recipe.
    """

    path: Path
    base: Path
    _restored: dict[str, Signature]

    @classmethod
    def of(cls, path: Path, base: Path) -> Place:
        """The place as it is now, which is copied to `base` first."""
        shutil.copytree(path, base, symlinks=True)
        return cls(path, base, look(path))

    def restore(self) -> None:
        """Makes the place as it was: copies anew what differs, removes what is new."""
        now = look(self.path)
        for name in sorted(now.keys() - self._restored.keys(), reverse=True):
            _remove(self.path / name)
        for name, signature in sorted(self._restored.items()):
            if now.get(name) != signature:
                _remove(self.path / name)
                if signature[0] == "folder":
                    (self.path / name).mkdir()
                else:
                    shutil.copy2(self.base / name, self.path / name, follow_symlinks=False)
        self._restored = look(self.path)

    def spoiled(self) -> Before:
        """What is there now, after a case has been prepared; the bytes of what was spoiled are remembered."""
        now = look(self.path)
        own = {
            name: (self.path / name).read_bytes()
            for name, signature in now.items()
            if signature[0] == "file" and self._restored.get(name) != signature and signature[1] < 1 << 28
        }
        return Before(now, own)


@dataclass(frozen=True)
class Before:
    """The place before a command: signatures, and the bytes of files that are not the prepared ones."""

    signatures: dict[str, Signature]
    own: dict[str, bytes]

    def differences(self, place: Place) -> dict[str, str]:
        """What has changed since: relative path -> `lost`, `changed`, `new`; not what was written anew as it was."""
        now = look(place.path)
        found = {}
        for name in self.signatures.keys() | now.keys():
            before, after = self.signatures.get(name), now.get(name)
            if before == after:
                continue
            if before is None:
                found[name] = "new"
            elif after is None or before[0] != after[0]:
                found[name] = "lost"
            elif before[0] != "file" or before[1] != after[1] or self._bytes(name, place) != _read(place.path / name):
                found[name] = "changed"
        return found

    def _bytes(self, name: str, place: Place) -> bytes:
        return self.own[name] if name in self.own else _read(place.base / name)


def _read(path: Path) -> bytes:
    return path.read_bytes()


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        path.chmod(0o700)
        shutil.rmtree(path)
